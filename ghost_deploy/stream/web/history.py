"""The last minutes of a source, by the second."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

SECONDS = 180
"""Length of a history."""

STAGES = ("pre", "run", "post")
"""The stages of `Result.timings_ms`, in order."""


@dataclass
class _Second:
    """Sums over the results of one second."""

    at: int
    results: int = 0
    age_sum: float = 0.0
    age_max: float = 0.0
    stage_sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))


class History:
    """Means and maxima of each second with a result; a second without one is left out."""

    def __init__(self) -> None:
        self._seconds: deque[_Second] = deque(maxlen=SECONDS)

    def add(self, now_s: float, age_ms: float, timings_ms: Mapping[str, float]) -> None:
        """Count one result.

        Args:
            now_s: monotonic clock, seconds; never less than before.
            age_ms, timings_ms: as in `Result`.
        """
        at = int(now_s)
        if not self._seconds or self._seconds[-1].at != at:
            self._seconds.append(_Second(at))
        second = self._seconds[-1]
        second.results += 1
        second.age_sum += age_ms
        second.age_max = max(second.age_max, age_ms)
        for stage in STAGES:
            second.stage_sums[stage] += timings_ms.get(stage, 0.0)

    def columns(self, now_s: float) -> dict[str, list[float]]:
        """The completed seconds, oldest first, as columns.

        Returns:
            `ago` seconds before now, `fps` results in that second, `age_mean` and `age_max`, and
            the mean of each stage, in milliseconds.
        """
        now = int(now_s)
        past = [second for second in self._seconds if now - SECONDS <= second.at < now]
        return {
            "ago": [now - second.at for second in past],
            "fps": [second.results for second in past],
            "age_mean": [round(second.age_sum / second.results, 2) for second in past],
            "age_max": [round(second.age_max, 2) for second in past],
            **{
                stage: [round(second.stage_sums[stage] / second.results, 2) for second in past]
                for stage in STAGES
            },
        }
