"""The newest result and the totals of each source, for the web view."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.web.history import STAGES, History

AGE_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of frame age, seconds; one without bound follows."""


@dataclass(frozen=True)
class NumberedResult:
    """The newest result of a source, with its number among all results of the run."""

    serial: int
    result: Result


@dataclass
class SourceTotals:
    """The totals of one source.

    Attributes:
        latest: the newest result.
        detections: of each class over the run; an object counts in each frame.
        age_buckets: results by frame age, see `AGE_BUCKETS_S`; not cumulative.
        age_sum_ms: over all results.
        stage_sums_ms: over all results, by stage.
    """

    latest: NumberedResult
    detections: Counter[str] = field(default_factory=Counter)
    age_buckets: list[int] = field(default_factory=lambda: [0] * (len(AGE_BUCKETS_S) + 1))
    age_sum_ms: float = 0.0
    stage_sums_ms: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))


class LatestResults:
    """Written by the pipeline, read by the server; holds one image for each source.

    Args:
        clock: monotonic, seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._serial = 0
        self._totals: dict[str, SourceTotals] = {}
        self._histories: defaultdict[str, History] = defaultdict(History)

    def put(self, result: Result) -> None:
        """Replace the result of its source, and count it."""
        names = result.detections.names
        with self._lock:
            self._serial += 1
            latest = NumberedResult(self._serial, result)
            totals = self._totals.setdefault(result.source, SourceTotals(latest))
            totals.latest = latest
            totals.detections.update(names)
            totals.age_buckets[bisect_left(AGE_BUCKETS_S, result.age_ms / 1e3)] += 1
            totals.age_sum_ms += result.age_ms
            for stage in STAGES:
                totals.stage_sums_ms[stage] += result.timings_ms.get(stage, 0.0)
            history = self._histories[result.source]
            history.add(self._clock(), result.age_ms, result.timings_ms)

    def newer_than(self, serial: int) -> list[NumberedResult]:
        """The newest result of each source that has one after `serial`, in order of arrival."""
        with self._lock:
            newer = [x.latest for x in self._totals.values() if x.latest.serial > serial]
        return sorted(newer, key=lambda latest: latest.serial)

    def newest(self, source: str, serial: int = 0) -> NumberedResult | None:
        """Return the newest result of a source, if it came after `serial`."""
        with self._lock:
            totals = self._totals.get(source)
            return totals.latest if totals and totals.latest.serial > serial else None

    def totals(self) -> dict[str, SourceTotals]:
        """Return a copy of the totals of each source that has a result."""
        with self._lock:
            return {
                source: replace(
                    totals,
                    detections=totals.detections.copy(),
                    age_buckets=totals.age_buckets.copy(),
                    stage_sums_ms=totals.stage_sums_ms.copy(),
                )
                for source, totals in self._totals.items()
            }

    def histories(self) -> dict[str, dict[str, list[float]]]:
        """Return `History.columns` of each source that has a result."""
        with self._lock:
            now = self._clock()
            return {source: history.columns(now) for source, history in self._histories.items()}
