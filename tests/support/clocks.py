"""Clocks that a test sets."""

from __future__ import annotations


class ManualTime:
    """In place of the module `time`; `now` is in seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class ManualClock:
    """In place of `time.perf_counter_ns`; `now` is in nanoseconds."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def seconds(self) -> float:
        return self.now / 1e9
