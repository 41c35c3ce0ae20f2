"""Choosing between the readings of a checkpoint by its recorded statistics.

Options of one kind are compared with each other, channel by channel, at the norms where they
differ. Each norm is seen on its own (`norm_inputs`), so that the kinds can be varied one at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ghost_deploy.checkpoints.norms.deviation import Deviation
from ghost_deploy.models.readings import Choices, Kind, OpenChoice

CLEAR = 1.5
"""Margin from which one option is clearly better than another.

Measured between the right and the next option: see `docs/recorded-statistics.md`."""

_FLOOR = 1e-4
_LEAST = 1e-3

Measure = Callable[[Choices], "Sequence[Deviation] | None"]
"""Returns the deviations of the network with these choices; None if they do not fit."""


@dataclass(frozen=True)
class Comparison:
    """The options of a kind, compared.

    Attributes:
        choice: the kind and its options.
        best: the option with the smallest deviation.
        margin: the deviation of the next best option over that of the best, at the channels where
            they differ; 0.0 if they differ nowhere, infinite if no other fits.
        decided: whether the statistics choose the best option.
    """

    choice: OpenChoice
    best: str
    margin: float
    decided: bool


def compare_readings(
    choices: Sequence[OpenChoice], measure: Measure, *, overrule: bool
) -> dict[Kind, Comparison]:
    """Compare the options of each kind.

    Args:
        choices: the kinds and their options.
        measure: measures a reading.
        overrule: whether statistics may overrule a definition that is certain by its class name.
    """
    current = {choice.kind: choice.options[0] for choice in choices}
    known: dict[tuple[str, ...], Sequence[Deviation] | None] = {}

    def measured(reading: Mapping[Kind, str]) -> Sequence[Deviation] | None:
        key = tuple(reading.values())
        if key not in known:
            known[key] = measure(reading)
        return known[key]

    compared: dict[Kind, Comparison] = {}
    # The second time only if something changed: kinds hardly influence each other.
    for _ in range(2):
        before = dict(current)
        for choice in choices:
            options = {
                each: found
                for each in choice.options
                if (found := measured({**current, choice.kind: each})) is not None
            }
            result = _compare(choice, options, overrule)
            compared[choice.kind] = result
            if result.decided:
                current[choice.kind] = result.best
        if current == before:
            break
    return compared


def _compare(
    choice: OpenChoice, options: Mapping[str, Sequence[Deviation]], overrule: bool
) -> Comparison:
    best = next(iter(options))
    for other in options:
        if other != best and _margin(options[other], options[best]) > 1:
            best = other
    margins = [_margin(options[best], options[other]) for other in options if other != best]
    margin = min(margins, default=math.inf)
    allowed = overrule or not choice.certain or best == choice.options[0]
    return Comparison(choice, best, margin, decided=margin >= CLEAR and allowed)


def _margin(one: Sequence[Deviation], other: Sequence[Deviation]) -> float:
    """The deviation of `other` over that of `one`; 0.0 if they are the same."""
    theirs = {each.name: each for each in other}
    mine = its = _FLOOR
    for a in one:
        b = theirs.get(a.name)
        if b is None or not a.judged:
            continue
        # A fault may touch few channels: each counts by how far the two readings differ there.
        weight = np.hypot(a.mean - b.mean, a.sd - b.sd)
        mine += float((weight * a.channels).mean())
        its += float((weight * b.channels).mean())
    return its / mine if its + mine > _LEAST else 0.0
