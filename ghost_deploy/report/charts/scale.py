"""Axes: a range of values, where its ticks are, and which place a value has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on a line from `start` to `end`, with a tick every `step`."""

    low: float
    high: float
    start: float
    end: float
    step: float

    @classmethod
    def over(
        cls,
        values: Iterable[float],
        start: float,
        end: float,
        *,
        ticks: int = 5,
        zero: bool = False,
        least: float = 0.0,
    ) -> Scale:
        """A scale that holds all values and ends on round ones.

        Args:
            values: at least one.
            start, end: of the line.
            ticks: about how many.
            zero: begin at 0.
            least: smallest difference of the ends, so that nothing is made to look large.
        """
        found = list(values)
        low, high = (0.0 if zero else min(found)), max(found)
        missing = max(least, abs(high) * 1e-6, 1e-9) - (high - low)
        if missing > 0:
            low, high = (low, high + missing) if zero else (low - missing / 2, high + missing / 2)
        step = _round_step((high - low) / ticks)
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        return cls(low, high, start, end, step)

    def __call__(self, value: float) -> float:
        """The place of a value; outside the range it is cut off."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """The values that have a tick."""
        count = round((self.high - self.low) / self.step)
        return [self.low + i * self.step for i in range(count + 1)]


def near(values: Iterable[float], kept: Sequence[float], least: float) -> list[float]:
    """`kept`, and those of `values` that lie at most one range of `kept` beyond it.

    One that is far off would leave the others no room; it is drawn at the edge, see `Scale`.

    Args:
        values: may be left out.
        kept: always hold; where there are none, all of `values` are kept.
        least: smallest range of `kept`.
    """
    if not kept:
        return list(values)
    span = max(max(kept) - min(kept), least)
    low, high = min(kept) - span, max(kept) + span
    return [*kept, *(value for value in values if low <= value <= high)]


def tick_text(value: float) -> str:
    """A tick's value; rounding noise is dropped."""
    return f"{0.0 if abs(value) < 1e-12 else value:.6g}"


def _round_step(wanted: float) -> float:
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(step * power for step in _STEPS if step * power >= wanted * (1 - 1e-9))
