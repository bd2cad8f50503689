"""Shared out work is the same work."""

import threading

import pytest
import torch

from inr.threads import pool, share_out


def test_results_come_in_order_and_no_tool_serves_two_at_once():
    busy, lock = set[int](), threading.Lock()

    def work(tool: int, entry: int) -> tuple[int, torch.dtype, bool]:
        with lock:
            assert tool not in busy
            busy.add(tool)
        made = torch.ones(4, 4) @ torch.ones(4, entry)
        with lock:
            busy.remove(tool)
        return made.shape[1], made.dtype, torch.is_grad_enabled()

    entries = list(range(1, 30))
    plain = [(entry, torch.float32, True) for entry in entries]
    assert share_out(work, [7], entries) == plain
    assert share_out(work, [7, 8, 9], entries) == plain
    with torch.autocast("cpu", torch.bfloat16):
        assert share_out(work, [7, 8, 9], entries) == [(entry, torch.bfloat16, True) for entry in entries]


def test_threads_compute_on_one_core_each_and_leave_others_theirs():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert share_out(lambda tool, entry: torch.get_num_threads(), [0, 1, 2], range(9)) == [1] * 9
        seen = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (torch.get_num_threads(), seen) == (3, [3])
        assert pool(3) is pool(3)
    finally:
        torch.set_num_threads(before)


def test_what_goes_wrong_in_a_thread_is_told():
    def work(tool: int, entry: int) -> int:
        if entry == 3:
            raise ValueError("three")
        return entry

    for _ in range(2):  # the tool of the one that failed serves again
        with pytest.raises(ValueError, match="three"):
            share_out(work, [0, 1], range(9))
