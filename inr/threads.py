"""Work that is shared out to threads of one core each."""

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

import torch

Tool = TypeVar("Tool")
Entry = TypeVar("Entry")
Result = TypeVar("Result")


@functools.cache
def pool(threads: int) -> ThreadPoolExecutor:
    """Start threads whose operations of torch stay on one core each."""
    made = ThreadPoolExecutor(threads, "one core", initializer=torch.set_num_threads, initargs=(1,))
    started = threading.Barrier(threads)
    for future in [made.submit(started.wait) for _ in range(threads)]:
        future.result()
    torch.set_num_threads(threads)  # torch remembers the last number that any thread has set, for threads to come
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
