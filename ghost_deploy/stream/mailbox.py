"""Where frames wait for the runtime: one place for each source, served in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.stream.sources.frame_period import FramePeriod


@dataclass(frozen=True, eq=False)
class Pending:
    """A captured frame that waits.

    Attributes:
        index: position among the frames captured of its source.
        t_capture_ns: monotonic clock at its capture, nanoseconds.
        position_s: in its video, seconds; None if it is of no video.
        name: of the frame, where each has its own; else empty.
        load: returns the image, (H, W, 3) uint8 BGR; decodes it if that was deferred.
    """

    index: int
    t_capture_ns: int
    load: Callable[[], NDArray[np.uint8]]
    position_s: float | None = None
    name: str = ""


class Mailboxes:
    """One place for each source; captures put frames, workers take from all sources in turn.

    Args:
        count: number of sources, which are numbered from 0.
    """

    def __init__(self, count: int) -> None:
        self._places: list[Pending | None] = [None] * count
        self._open = set(range(count))
        self._closed = False
        self._periods = [FramePeriod() for _ in range(count)]
        self._next = 0
        self._served: set[int] = set()  # in this round
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._freed = threading.Condition(lock)

    def put_latest(self, source: int, item: Pending) -> Pending | None:
        """Put `item`, which replaces a waiting one.

        Returns:
            The frame that is dropped: the older one, `item` itself after `close`, or None.
        """
        with self._filled:
            if self._closed:
                return item
            replaced = self._places[source]
            self._places[source] = item
            self._periods[source].arrived(item.t_capture_ns / 1e9, time.monotonic())
            self._filled.notify()
            return replaced

    def put_in_turn(self, source: int, item: Pending) -> bool:
        """Wait until the place is free and put `item`; False after `close`."""
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
        """Take the frame of the source whose turn it is; None after `timeout` seconds.

        Sources are served in rounds, each source with a frame once a round: a fast one cannot
        starve a slow one. Within a round, frames whose successors are about to arrive come last;
        if there are no others, the successor is waited for.

        Args:
            timeout: longest wait for a frame, seconds.
            without: sources to skip.
            patience_s: a successor expected within that time is waited for, in total for at most
                twice that time.
        """
        with self._filled:
            self._filled.wait_for(lambda: self._exhausted() or self._turns(without), timeout)
            end = time.monotonic() + 2 * patience_s
            while turns := self._turns(without):
                source = self._first_without_successor(turns, patience_s)
                left_s = end - time.monotonic()
                if source is None and left_s > 0:
                    self._filled.wait(left_s)
                    continue
                source = turns[0] if source is None else source
                return source, self._give_out(source)
            return None

    def finish(self, source: int) -> None:
        """The source puts no more frames."""
        with self._filled:
            self._open.discard(source)
            self._filled.notify_all()

    def close(self) -> list[tuple[int, Pending]]:
        """Accept no more frames, wake all threads, and return the waiting frames."""
        with self._filled:
            self._closed = True
            left = [(source, item) for source, item in enumerate(self._places) if item]
            self._places = [None] * len(self._places)
            self._filled.notify_all()
            self._freed.notify_all()
            return left

    @property
    def exhausted(self) -> bool:
        """Whether no frame waits and none will come."""
        with self._filled:
            return self._exhausted() and not any(self._places)

    def _turns(self, without: Collection[int]) -> list[int]:
        """The sources that have a frame and were not served in this round, in order."""
        count = len(self._places)
        order = ((self._next + step) % count for step in range(count))
        waiting = [n for n in order if self._places[n] and n not in without]
        return [n for n in waiting if n not in self._served] or waiting

    def _first_without_successor(self, turns: list[int], patience_s: float) -> int | None:
        """The first of `turns` whose next frame is not about to arrive."""
        now = time.monotonic()
        return next((n for n in turns if not self._periods[n].expects(now, patience_s)), None)

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
