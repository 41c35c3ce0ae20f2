"""Where frames wait for a free runtime: one place for each source, served in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.stream.sources.frame_period import Rhythm

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
        self._rhythms = [Rhythm() for _ in range(count)]
        self._next = 0
        self._served: set[int] = set()  # in this round
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
            self._rhythms[source].arrived(item.t_capture_ns / 1e9, time.monotonic())
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

    def take(
        self, timeout: float, without: Collection[int] = (), patience_s: float = 0.0
    ) -> tuple[int, Pending] | None:
        """The frame of a source whose turn it is, or None after `timeout` seconds.

        Sources are served in rounds, each that has a frame once in a round: a fast one cannot
        starve a slow one. Within a round, frames whose successors are about to arrive come last;
        if there are no others, the successor is waited for.

        Args:
            timeout: longest wait for a first frame, seconds.
            without: sources that are passed over.
            patience_s: a successor is waited for that is expected within that time, and in all
                no longer than twice that.
        """
        with self._filled:
            self._filled.wait_for(lambda: self._exhausted() or self._turns(without), timeout)
            end = time.monotonic() + 2 * patience_s
            while turns := self._turns(without):
                source = self._first_steady(turns, patience_s)
                left_s = end - time.monotonic()
                if source is None and left_s > 0:
                    self._filled.wait(left_s)
                    continue
                source = turns[0] if source is None else source
                return source, self._give_out(source)
            return None

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

    def _turns(self, without: Collection[int]) -> list[int]:
        """The sources that have a frame and their turn in this round, in order."""
        count = len(self._places)
        order = ((self._next + step) % count for step in range(count))
        waiting = [n for n in order if self._places[n] and n not in without]
        return [n for n in waiting if n not in self._served] or waiting

    def _first_steady(self, turns: list[int], patience_s: float) -> int | None:
        """The first of the sources whose next frame is not about to arrive."""
        now = time.monotonic()
        return next((n for n in turns if not self._rhythms[n].expects(now, patience_s)), None)

    def _give_out(self, source: int) -> Pending:
        item, self._places[source] = self._places[source], None
        assert item
        if source in self._served:
            self._served.clear()
        self._served.add(source)
        self._next = (source + 1) % len(self._places)
        self._freed.notify_all()
        return item

    def _exhausted(self) -> bool:
        return self._closed or not self._open
