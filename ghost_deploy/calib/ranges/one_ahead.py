"""Makes the next item while the one before is used."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

T = TypeVar("T")


def one_ahead(items: Iterable[T]) -> Generator[T]:
    """The items in their order, each made in a thread while the one before is in use.

    Two items are in memory at a time. An error comes where its item would.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "ahead") as thread:
        following = thread.submit(next, iterator, _End)
        while True:
            item = following.result()
            if item is _End:
                return
            following = thread.submit(next, iterator, _End)
            yield cast("T", item)
            del item


class _End:
    """Stands for the end, which a thread cannot raise as StopIteration."""
