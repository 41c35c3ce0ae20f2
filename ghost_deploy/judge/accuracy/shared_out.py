"""Shares work out to several workers, each for one thread, and gives the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Worker = TypeVar("Worker")


def shared_out(
    items: Iterable[Item], work: Callable[[Worker, Item], Result], workers: Sequence[Worker]
) -> Generator[Result]:
    """`work(worker, item)` of each item, in the order of the items.

    Args:
        items: taken one by one, at most as many ahead as there are workers.
        work: called in several threads, where there are several workers.
        workers: at least one; each has one item at a time.
    """
    if len(workers) == 1:
        for item in items:
            yield work(workers[0], item)
        return
    free: SimpleQueue[Worker] = SimpleQueue()
    for worker in workers:
        free.put(worker)

    def one(item: Item) -> Result:
        worker = free.get()
        try:
            return work(worker, item)
        finally:
            free.put(worker)

    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(len(workers), "shared out") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(one, item))
                if len(waiting) > len(workers):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
