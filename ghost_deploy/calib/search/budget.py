"""As much int8 as a limit on lost accuracy allows.

The harmful groups return to float one after the other, each result measured, until the loss is
within the limit; then each of them is tried in int8 again, the largest first, because a later one
may have made an earlier one unnecessary. Harm is weighed against the share of the multiply-adds
that a group takes out of int8.

The choice is slightly optimistic on the images that it was made on: judge it on other images.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import msgspec

from ghost_deploy.calib.search.measuring import Measure
from ghost_deploy.calib.search.sensitivity import LayerGroup, Ranking
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.int8 import CurvePoint
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.core.progress import Progress, silent

_CONVERSION_COST = 0.005
"""Cost of any float group beside its multiply-adds, as a share of the network's: its inputs and
outputs are converted. Keeps tiny groups of tiny harm from ranking first."""


@dataclass(frozen=True)
class Budget:
    """The choice of layers.

    Attributes:
        groups: the float groups, most harmful per cost first.
        gains: by float group, the additional points lost when it is int8 and the others stay float.
        curve: all measured choices, from most to least int8.
    """

    groups: tuple[LayerGroup, ...]
    gains: Mapping[LayerGroup, float]
    curve: tuple[CurvePoint, ...]

    @property
    def float_nodes(self) -> frozenset[str]:
        """Names of the nodes that stay float."""
        return _nodes(self.groups)


def fit_budget(
    ranking: Ranking, judge: Measure, max_drop: float, *, progress: Progress = silent
) -> Budget:
    """The fewest harmful groups whose return to float keeps the loss within `max_drop`.

    Args:
        ranking: of all groups.
        judge: the one of the ranking.
        max_drop: points that may be lost, at least 0.
        progress: receives each measurement.

    Raises:
        UsageError: `max_drop` is negative.
        GateError: more is lost even with every group float: the judge compares with another
            model, or the cause is quantized outside the groups.
    """
    if not max_drop >= 0:
        raise UsageError(
            "the limit must be points of accuracy that may be lost",
            got=max_drop,
            expected="0 or more",
            fix="Pass for example --max-drop 0.5",
        )
    search = _Search(ranking, judge, max_drop, progress)
    if not search.holds(()):
        if ranking.floor > max_drop:
            raise GateError(
                "the loss exceeds the limit even with every layer float",
                got=f"{ranking.floor:.2f} points",
                expected=f"at most {max_drop:g}",
                fix="Check that the judge compares with the float form of the same model",
            )
        return search.result(search.prune(search.first_that_holds()))
    return search.result(())


class _Search:
    """Measures choices and keeps all of them for the curve."""

    def __init__(
        self, ranking: Ranking, judge: Measure, max_drop: float, progress: Progress
    ) -> None:
        self._judge, self._max_drop, self._progress = judge, max_drop, progress
        self._harm = {row.group: row.harm for row in ranking.rows}
        self._order = tuple(sorted(ranking.groups, key=self._rank_key))
        self._points: dict[tuple[LayerGroup, ...], CurvePoint] = {}

    def holds(self, *choices: tuple[LayerGroup, ...]) -> bool:
        """Whether the last of `choices` is within the limit; all are measured."""
        self.measure(choices)
        return self._points[choices[-1]].lost <= self._max_drop

    def measure(self, choices: Sequence[tuple[LayerGroup, ...]]) -> None:
        """Add points to the curve."""
        losses = self._judge.all([_nodes(choice) for choice in choices])
        whole = sum(group.share for group in self._order)
        for choice, loss in zip(choices, losses, strict=True):
            share = max(whole - sum(group.share for group in choice), 0.0)
            self._points[choice] = CurvePoint(int8_share=share, lost=loss, returned=len(choice))
        self._progress("choosing float layers: step", len(self._points), 2 * len(self._order))

    def first_that_holds(self) -> tuple[LayerGroup, ...]:
        """The shortest prefix of the order within the limit; all groups in the worst case."""
        prefixes = list(accumulate((group,) for group in self._order))
        step = self._judge.workers
        for start in range(0, len(prefixes), step):
            batch = prefixes[start : start + step]
            self.measure(batch)
            for prefix in batch:
                if self._points[prefix].lost <= self._max_drop:
                    return prefix
        return self._order

    def prune(self, choice: tuple[LayerGroup, ...]) -> tuple[LayerGroup, ...]:
        """`choice` without the groups that can be int8 after all."""
        for group in sorted(choice[:-1], key=lambda group: -group.share):
            fewer = _without(choice, group)
            if self.holds(fewer):
                choice = fewer
        return choice

    def result(self, choice: tuple[LayerGroup, ...]) -> Budget:
        """The budget of a choice that is within the limit."""
        without = {group: _without(choice, group) for group in choice}
        self.measure([fewer for fewer in without.values() if fewer not in self._points])
        point = self._points[choice]
        self._points[choice] = msgspec.structs.replace(point, chosen=True)
        return Budget(
            groups=choice,
            gains={g: self._points[fewer].lost - point.lost for g, fewer in without.items()},
            curve=tuple(sorted(self._points.values(), key=lambda each: -each.int8_share)),
        )

    def _rank_key(self, group: LayerGroup) -> tuple[bool, float]:
        """Key of the order: measured harm by cost, then the unmeasured as they were ranked."""
        harm = self._harm[group]
        return harm is None, -(harm or 0.0) / (group.share + _CONVERSION_COST)


def _without(choice: tuple[LayerGroup, ...], group: LayerGroup) -> tuple[LayerGroup, ...]:
    return tuple(each for each in choice if each != group)


def _nodes(groups: Iterable[LayerGroup]) -> frozenset[str]:
    return frozenset(name for group in groups for name in group.nodes)
