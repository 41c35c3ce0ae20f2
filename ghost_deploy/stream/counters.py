"""The counters of a live run: exact, and readable from any thread."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from ghost_deploy.stream.result import Cause, Result, SourceStats, State

__all__ = ["SourceBook", "StatsBook"]

_FPS_WINDOW_NS = 5_000_000_000
_AGES = 1000
"""Ages kept a source for percentiles: half a minute at 30 frames a second."""


class SourceBook:
    """What happened to the frames of one source. All methods may be called from any thread."""

    def __init__(self, id: str, label: str) -> None:
        self.id = id
        self.label = label
        self._lock = threading.Lock()
        self._state: State = "connecting"
        self._captured = 0
        self._processed = 0
        self._dropped: Counter[Cause] = Counter()
        self._reconnects = 0
        self._was_live = False
        self._last_ns: int | None = None
        self._size_hw: tuple[int, int] | None = None
        self._error = ""
        self._ages: deque[float] = deque(maxlen=_AGES)
        self._times: deque[int] = deque(maxlen=_AGES)

    def captured(self, t_ns: int) -> int:
        """A frame came at `t_ns`; its index. A source that was not live is live now."""
        with self._lock:
            if self._state != "live":
                self._reconnects += self._was_live
                self._was_live = True
                self._state = "live"
            self._last_ns = t_ns
            self._captured += 1
            return self._captured - 1

    def dropped(self, cause: Cause) -> None:
        """A captured frame will not be processed."""
        with self._lock:
            self._dropped[cause] += 1

    def processed(self, result: Result) -> None:
        """A captured frame became a result."""
        with self._lock:
            self._processed += 1
            self._size_hw = result.frame.size_hw
            self._ages.append(result.age_ms)
            self._times.append(time.monotonic_ns())

    def enter(self, state: State, error: str = "") -> None:
        """The source is in `state` now; `error`, where given, says why."""
        with self._lock:
            self._state = state
            self._error = error or self._error

    @property
    def state(self) -> State:
        """Where the source stands."""
        with self._lock:
            return self._state

    @property
    def was_live(self) -> bool:
        """Whether it ever gave a frame."""
        with self._lock:
            return self._was_live

    def snapshot(self) -> SourceStats:
        """The counters now."""
        now = time.monotonic_ns()
        with self._lock:
            while self._times and now - self._times[0] > _FPS_WINDOW_NS:
                self._times.popleft()
            span = now - self._times[0] if self._times else 0
            ages = np.array(self._ages)
            p50, p99 = np.percentile(ages, (50, 99)).tolist() if len(ages) else (None, None)
            return SourceStats(
                id=self.id,
                label=self.label,
                state=self._state,
                captured=self._captured,
                processed=self._processed,
                dropped=dict(self._dropped),
                reconnects=self._reconnects,
                last_frame_age_ms=None if self._last_ns is None else (now - self._last_ns) / 1e6,
                fps=(len(self._times) - 1) / (span / 1e9) if len(self._times) > 1 else 0.0,
                age_p50_ms=p50,
                age_p99_ms=p99,
                size_hw=self._size_hw,
                last_error=self._error,
            )


class StatsBook:
    """The books of all sources; a `StatsView`."""

    def __init__(self, books: Sequence[SourceBook]) -> None:
        self._books = tuple(books)

    def snapshot(self) -> tuple[SourceStats, ...]:
        """The counters of every source, in the order of the sources."""
        return tuple(book.snapshot() for book in self._books)
