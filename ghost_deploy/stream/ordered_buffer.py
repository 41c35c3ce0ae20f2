"""Bring the results of several workers back into the order of their frames."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class OrderedBuffer(Generic[T]):
    """A bounded buffer that returns items by their number: 0, 1, 2, ...

    Args:
        room: how far ahead of the next item to return an item may be put.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: dict[int, T | None] = {}
        self._next = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, number: int, item: T | None) -> bool:
        """Put the item of that number, or None to skip the number; wait until there is room.

        Returns:
            False, with nothing put, after `close`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or number < self._next + self._room)
            if self._closed:
                return False
            self._items[number] = item
            self._changed.notify_all()
            return True

    def get(self, timeout: float) -> T | None:
        """Return the next item, or None after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(self._skip_to_item, timeout)
            if not self._skip_to_item():
                return None
            item = self._items.pop(self._next)
            self._next += 1
            self._changed.notify_all()
            return item

    def close(self) -> list[T]:
        """Accept no more items, wake all threads, and return the waiting items."""
        with self._changed:
            self._closed = True
            left = [item for item in self._items.values() if item is not None]
            self._items.clear()
            self._changed.notify_all()
            return left

    def _skip_to_item(self) -> bool:
        """Skip the numbers without an item; whether the next item is there."""
        while self._next in self._items and self._items[self._next] is None:
            del self._items[self._next]
            self._next += 1
            self._changed.notify_all()
        return self._next in self._items
