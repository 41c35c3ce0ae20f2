"""A sink that checks each frame of a soak by the number in it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import Sink
from tests.support.numbered_frames import NUMBER_BITS, read_number


class Histogram:
    """Milliseconds in bins of 0.5, the last open: its size does not grow with the run."""

    _BIN_MS = 0.5

    def __init__(self) -> None:
        self._counts = np.zeros(20_000, np.int64)

    def add(self, value_ms: float) -> None:
        self._counts[min(int(value_ms / self._BIN_MS), len(self._counts) - 1)] += 1

    def __len__(self) -> int:
        return int(self._counts.sum())

    def percentile(self, percent: float) -> float:
        """The upper edge of the bin that holds it."""
        reached = np.searchsorted(np.cumsum(self._counts), len(self) * percent / 100)
        return float(reached + 1) * self._BIN_MS


class Check(Sink):
    """A sink that reads the number of each frame and keeps no frame."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.wrong: Counter[str] = Counter()
        self.ages = Histogram()
        self.times = Histogram()

    def write(self, result: Result) -> None:
        number = read_number(result.frame.image)
        self.ages.add(result.age_ms)
        self.times.add(sum(result.timings_ms.values()))
        if number is None:
            self.wrong["invented"] += 1
            return
        # Numbers have 16 bits: after 65536 frames they begin again.
        step = (number - self.last.get(result.source, number - 1)) % (1 << NUMBER_BITS)
        if step == 0:
            self.wrong["repeated"] += 1
        elif step > 1 << (NUMBER_BITS - 1):
            self.wrong["out of order"] += 1
        self.last[result.source] = number

    def close(self) -> None:
        """Nothing is held."""
