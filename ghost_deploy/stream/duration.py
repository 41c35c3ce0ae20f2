"""How long something takes that takes about the same each time."""

from __future__ import annotations

__all__ = ["Duration"]

_WEIGHT = 0.1  # of the newest duration in the running means
_DEVIATIONS = 2.0


class Duration:
    """The running mean and mean deviation of a duration, seconds.

    As round-trip times are estimated (V. Jacobson, Congestion Avoidance and Control, 1988).
    """

    def __init__(self) -> None:
        self.mean = 0.0
        self.deviation = 0.0

    def add(self, seconds: float) -> None:
        """Take in the newest."""
        if not self.mean:
            self.mean = seconds
        error = seconds - self.mean
        self.mean += _WEIGHT * error
        self.deviation += _WEIGHT * (abs(error) - self.deviation)

    @property
    def least(self) -> float:
        """Shorter than it usually is."""
        return max(0.0, self.mean - _DEVIATIONS * self.deviation)

    @property
    def most(self) -> float:
        """Longer than it usually is."""
        return self.mean + _DEVIATIONS * self.deviation
