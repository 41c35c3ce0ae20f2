"""The running estimate of a recurring duration."""

from __future__ import annotations

_WEIGHT = 0.1  # of the newest duration in the running means
_DEVIATIONS = 2.0


class Duration:
    """The running mean and mean deviation of a duration, seconds.

    Estimated like round-trip times (V. Jacobson, Congestion Avoidance and Control, 1988).
    """

    def __init__(self) -> None:
        self.mean = 0.0
        self.deviation = 0.0

    def add(self, seconds: float) -> None:
        """Add the newest."""
        if not self.mean:
            self.mean = seconds
        error = seconds - self.mean
        self.mean += _WEIGHT * error
        self.deviation += _WEIGHT * (abs(error) - self.deviation)

    @property
    def least(self) -> float:
        """A low estimate, below which it rarely falls."""
        return max(0.0, self.mean - _DEVIATIONS * self.deviation)

    @property
    def most(self) -> float:
        """A high estimate, which it rarely exceeds."""
        return self.mean + _DEVIATIONS * self.deviation
