"""Work that is shared out to threads of one core each."""

import ctypes
import functools
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch

# Options of glibc's mallopt, and their values.
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
KEPT = 2**28  # [bytes] free at the end of the heap, below which it stays as it is
LARGEST = 2**25  # [bytes] of a block on the heap, the most that glibc allows

Tool = TypeVar("Tool")
Entry = TypeVar("Entry")
Result = TypeVar("Result")


def keep_memory() -> None:
    """Let the C library keep what a step frees for the next one; by default it hands it back to the system page by page."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # other libraries than glibc lack it
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(MMAP_THRESHOLD, LARGEST)


def begin() -> None:
    """Keep the operations of this thread on one core."""
    torch.set_num_threads(1)
    torch.get_num_threads()  # the first question adopts, once and for all, the number that any thread has set last


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Start threads whose operations of torch stay on one core each."""
    keep_memory()
    made = ThreadPoolExecutor(threads, "one core", initializer=begin)
    started = threading.Barrier(threads)
    for future in [made.submit(started.wait) for _ in range(threads)]:
        future.result()
    torch.set_num_threads(threads)  # for threads to come
    return made


def share_out(work: Callable[[Tool, Entry], Result], tools: Sequence[Tool], entries: Sequence[Entry]) -> list[Result]:
    """Return what the work makes of each entry, in their order; as many at a time as there are tools, each with one of them.

    Of one tool, or one entry, in this thread. On a CPU threads that share out small operations mostly wait for each other.
    """
    if min(len(tools), len(entries)) == 1:
        return [work(tools[0], entry) for entry in entries]
    free: SimpleQueue[Tool] = SimpleQueue()
    for tool in tools:
        free.put(tool)
    lowers, number = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def take(entry: Entry) -> Result:
        tool = free.get()
        try:
            with torch.autocast("cpu", number, lowers):  # which every thread has to be told by itself
                return work(tool, entry)
        finally:
            free.put(tool)

    return list(pool(len(tools)).map(take, entries))
