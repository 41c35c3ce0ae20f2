"""Where frames wait for a free runtime: one place for each source, served in turn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mailboxes", "Pending"]


@dataclass(frozen=True, eq=False)
class Pending:
    """A captured frame that waits.

    Attributes:
        index: position among the frames captured of its source.
        t_capture_ns: monotonic clock at its capture, nanoseconds.
        load: gives the picture, (H, W, 3) uint8 BGR; decodes it where that was put off.
    """

    index: int
    t_capture_ns: int
    load: Callable[[], NDArray[np.uint8]]


class Mailboxes:
    """One place for each source. Producers are captures, consumers take from all in turn.

    Args:
        count: number of sources; they are named by 0 to count - 1.
    """

    def __init__(self, count: int) -> None:
        self._places: list[Pending | None] = [None] * count
        self._open = set(range(count))
        self._closed = False
        self._next = 0
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._freed = threading.Condition(lock)

    def put_latest(self, source: int, item: Pending) -> Pending | None:
        """Put `item` in place of the one that waits.

        Returns:
            The one that is lost: the older one, `item` itself once all is closed, or None.
        """
        with self._filled:
            if self._closed:
                return item
            replaced = self._places[source]
            self._places[source] = item
            self._filled.notify()
            return replaced

    def put_in_turn(self, source: int, item: Pending) -> bool:
        """Wait until the place is free, then put `item` there; False once all is closed."""
        with self._freed:
            self._freed.wait_for(lambda: self._closed or self._places[source] is None)
            if self._closed:
                return False
            self._places[source] = item
            self._filled.notify()
            return True

    def take(self, timeout: float, without: Collection[int] = ()) -> tuple[int, Pending] | None:
        """The frame of the next source in turn that has one, or None after `timeout` seconds.

        Sources are served round robin: a fast one cannot starve a slow one.

        Args:
            timeout: longest wait, seconds.
            without: sources that are passed over.
        """
        with self._filled:
            self._filled.wait_for(
                lambda: self._exhausted() or self._in_turn(without) is not None, timeout
            )
            source = self._in_turn(without)
            if source is None:
                return None
            item, self._places[source] = self._places[source], None
            assert item
            self._next = (source + 1) % len(self._places)
            self._freed.notify_all()
            return source, item

    def finish(self, source: int) -> None:
        """The source will put nothing more."""
        with self._filled:
            self._open.discard(source)
            self._filled.notify_all()

    def close(self) -> list[tuple[int, Pending]]:
        """Accept nothing more, wake everybody, and return the frames that were left."""
        with self._filled:
            self._closed = True
            left = [(source, item) for source, item in enumerate(self._places) if item]
            self._places = [None] * len(self._places)
            self._filled.notify_all()
            self._freed.notify_all()
            return left

    @property
    def exhausted(self) -> bool:
        """Whether nothing waits and nothing will come."""
        with self._filled:
            return self._exhausted() and not any(self._places)

    def _in_turn(self, without: Collection[int]) -> int | None:
        """The next source that has a frame."""
        count = len(self._places)
        turns = ((self._next + step) % count for step in range(count))
        return next((n for n in turns if self._places[n] and n not in without), None)

    def _exhausted(self) -> bool:
        return self._closed or not self._open
