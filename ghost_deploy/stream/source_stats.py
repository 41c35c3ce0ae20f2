"""The statistics of a source: exact counters, readable from any thread."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ghost_deploy.stream.result import Result

Cause = Literal["newer", "old", "skipped", "still", "broken", "stopped"]
"""Why a captured frame was not inferred: replaced by a `newer` one while it waited, `old` beyond
the age limit, `skipped` by the rate limits, `still` by the motion gate, `broken` because it does
not decode, or waiting when the run was `stopped`."""

State = Literal["connecting", "live", "stalled", "lost", "ended", "failed"]
"""The state of a source: `stalled` is connected, but none of its frames decodes, `lost` is being
opened again, `ended` and `failed` are final."""

_FPS_WINDOW_NS = 5_000_000_000
_MOST_UNREADABLE = 10
_AGES = 1000
"""Ages kept of each source for percentiles: half a minute at 30 frames/s."""


@dataclass(frozen=True)
class SourceStats:
    """The counters of one source at one moment.

    `captured` equals `processed` plus the sum of `dropped` plus the frames under way, of which
    there are none after the run.

    Attributes:
        id: as `Result.source`.
        label: as `Result.label`.
        state: see `State`.
        captured: frames received.
        processed: frames inferred and handed to the sinks.
        dropped: frames not inferred, by cause; a cause without frames is absent.
        missing: frames that the container of a video announces and does not hold; known at its
            end, and not part of `captured`.
        unreadable: why images cannot be read, the first ten of them.
        reconnects: how often the source came back after a loss.
        last_frame_age_ms: since the capture of the last frame; None before the first.
        fps: results a second, over the last seconds.
        age_p50_ms, age_p99_ms: percentiles of `Result.age_ms` over the last results; None before
            the first.
        size_hw: of the last frame; None before the first.
        position_s: of the last result in its video, seconds; None if it is of no video.
        duration_s: of the video, by its header, seconds; None if unknown.
        last_error: why it was last lost, without credentials; empty if it never was.
    """

    id: str
    label: str
    state: State = "connecting"
    captured: int = 0
    processed: int = 0
    dropped: Mapping[Cause, int] = field(default_factory=dict)
    missing: int = 0
    unreadable: tuple[str, ...] = ()
    reconnects: int = 0
    last_frame_age_ms: float | None = None
    fps: float = 0.0
    age_p50_ms: float | None = None
    age_p99_ms: float | None = None
    size_hw: tuple[int, int] | None = None
    position_s: float | None = None
    duration_s: float | None = None
    last_error: str = ""

    @property
    def done_share(self) -> float | None:
        """How much of a source that ends is done, 0 to 1; None if that is unknown."""
        if self.state in {"ended", "failed"}:
            return 1.0
        if self.position_s is None or not self.duration_s:
            return None if self.processed else 0.0
        return min(1.0, max(0.0, self.position_s / self.duration_s))

    @property
    def decoded(self) -> int:
        """Frames that are known to be images: results, and those without motion."""
        return self.processed + self.dropped.get("still", 0)

    @property
    def lost(self) -> int:
        """Frames that are broken or missing."""
        return self.dropped.get("broken", 0) + self.missing

    @property
    def lost_share(self) -> float:
        """`lost` of all frames, 0 to 1."""
        return self.lost / max(1, self.captured + self.missing)


ReadStats = Callable[[], tuple[SourceStats, ...]]
"""Returns the counters of all sources now, in their order; any thread may call it."""


class SourceCounters:
    """Counts the frames of one source. Any thread may call any method.

    Args:
        id, label: as in `SourceStats`.
        stalled_after_s: a live source of which only broken frames came for so long is `stalled`.

    Attributes:
        state: the current state, except that one that is `stalled` is `live` here.
        was_live: whether it has ever delivered a frame.
        duration_s: of an open video, by its header, seconds.
    """

    def __init__(self, id: str, label: str, *, stalled_after_s: float = 5.0) -> None:
        self.id = id
        self.label = label
        self._stalled_after_ns = round(stalled_after_s * 1e9)
        self._broken_since_ns: int | None = None  # no frame has decoded since
        self._lock = threading.Lock()
        self.state: State = "connecting"
        self._captured = 0
        self._processed = 0
        self._dropped: Counter[Cause] = Counter()
        self._missing = 0
        self._unreadable: list[str] = []
        self._reconnects = 0
        self.was_live = False
        self.duration_s: float | None = None
        self._position_s: float | None = None
        self._last_ns: int | None = None
        self._size_hw: tuple[int, int] | None = None
        self._error = ""
        self._ages: deque[float] = deque(maxlen=_AGES)
        self._times: deque[int] = deque(maxlen=_AGES)

    def captured(self, t_ns: int) -> int:
        """Count a frame that came at `t_ns`; the source is live now. Returns the frame's index."""
        with self._lock:
            if self.state != "live":
                self._reconnects += self.was_live
                self.was_live = True
                self.state = "live"
                self._broken_since_ns = None
            self._last_ns = t_ns
            self._captured += 1
            return self._captured - 1

    def dropped(self, cause: Cause) -> None:
        """A captured frame will not be processed."""
        with self._lock:
            self._dropped[cause] += 1
            if cause == "still":
                self._broken_since_ns = None
            elif cause == "broken" and self._broken_since_ns is None:
                self._broken_since_ns = time.monotonic_ns()

    def missed(self, count: int) -> None:
        """So many announced frames did not come."""
        with self._lock:
            self._missing += count

    def cannot_read(self, why: str) -> None:
        """An image of the source cannot be read."""
        with self._lock:
            if len(self._unreadable) < _MOST_UNREADABLE:
                self._unreadable.append(why)

    def processed(self, result: Result) -> None:
        """A captured frame became a result."""
        with self._lock:
            self._processed += 1
            self._broken_since_ns = None
            self._size_hw = result.frame.size_hw
            self._position_s = result.frame.position_s
            self._ages.append(result.age_ms)
            self._times.append(time.monotonic_ns())

    def enter(self, state: State, error: str = "") -> None:
        """Set the state; `error`, if given, is the reason."""
        with self._lock:
            self.state = state
            self._error = error or self._error

    def stats(self) -> SourceStats:
        """Return the counters now."""
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
                state="stalled" if self._is_stalled(now) else self.state,
                captured=self._captured,
                processed=self._processed,
                dropped=dict(self._dropped),
                missing=self._missing,
                unreadable=tuple(self._unreadable),
                reconnects=self._reconnects,
                last_frame_age_ms=None if self._last_ns is None else (now - self._last_ns) / 1e6,
                fps=(len(self._times) - 1) / (span / 1e9) if len(self._times) > 1 else 0.0,
                age_p50_ms=p50,
                age_p99_ms=p99,
                size_hw=self._size_hw,
                position_s=self._position_s,
                duration_s=self.duration_s,
                last_error=self._error,
            )

    def _is_stalled(self, now_ns: int) -> bool:
        since = self._broken_since_ns
        if self.state != "live" or since is None:
            return False
        return now_ns - since >= self._stalled_after_ns
