"""The verdict of recorded statistics on the arithmetic of a network.

The rule, in the order of the network:

1. The *stem* are the norms that run before any module whose arithmetic could be in doubt: all but
   torch's layers, Conv and concatenation. The very first norm always belongs to it. If one of them
   deviates by more than `STEM_LIMIT`, the images are not of the model's kind: not judged.
2. Behind the stem, norms of maps up to stride `EARLY_STRIDE` may deviate by `EARLY`, deeper ones by
   `DEEP`, each a pair of limits. The stem widens them: images that already differ there differ a
   little everywhere. A norm above its upper limit is outside the band: the network disagrees, and
   the first such norm lies directly behind the fault.
3. All norms within their lower limits: it agrees. Otherwise it is not judged.
4. That looks at each norm alone. Deviations add up where each norm normalizes by what it recorded:
   if one is then above `ADDED_UP`, by more than the sampling error that two halves of the images
   show, a network that agrees is not judged either.

The limits are measured, see `docs/recorded-statistics.md`. With right definitions and images of the
model's kind the stem is below 0.12, early norms below 0.2 and deep ones below 0.13; with blurred,
noisy, recoloured, cut and shuffled images that pass the stem, 0.33 and 0.21. Added up, right
networks are below 0.38 with images of their kind and size; with one wrong module of many often
above 0.5, as right ones are with mosaics and at other sizes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from torch import nn

from ghost_deploy.checkpoints.norms.deviation import Deviation
from ghost_deploy.core.evidence.statistics_report import NormRow, StatisticsVerdict
from ghost_deploy.models.block import Block
from ghost_deploy.models.conv import Concat, Conv, DWConv
from ghost_deploy.models.network import DetectionNet

STEM_LIMIT = 0.2
EARLY_STRIDE = 4
EARLY = (0.35, 0.45)
DEEP = (0.2, 0.27)
ADDED_UP = 0.4
_ERRORS = 2.0
_EARLY_BY_STEM, _DEEP_BY_STEM = 3.0, 2.0
_LEAST_NORMS = 4

_BEYOND_DOUBT: tuple[type[nn.Module], ...] = (Conv, DWConv, Concat)


@dataclass(frozen=True)
class NormVerdict:
    """A verdict, its reason, the first norm outside the band, and all norms."""

    verdict: StatisticsVerdict
    sentence: str
    departs: str
    rows: tuple[NormRow, ...]


def judge_norms(net: DetectionNet, found: Sequence[Deviation]) -> NormVerdict:
    """Apply the rule above.

    Args:
        net: the network.
        found: the deviations of its norms, in the order in which they run.
    """
    if not found:
        return NormVerdict("not judged", "The checkpoint holds no recorded statistics.", "", ())
    stem, level = _stem(net, found), stem_level(net, found)
    limits = [_limits(each, level) for each in found]
    rows = tuple(
        NormRow(
            name=each.name,
            definition=_owner(net, each.name),
            mean=round(each.median_mean, 4),
            sd=round(each.median_sd, 4),
            limit=round(upper, 4) if each.judged and place >= stem else 0.0,
            judged=each.judged and place >= stem,
        )
        for place, (each, (_, upper)) in enumerate(zip(found, limits, strict=True))
    )
    verdict, sentence, departs = _decide(rows, limits, level)
    return NormVerdict(verdict, sentence, departs, rows)


def judge_added_up(
    net: DetectionNet,
    verdict: NormVerdict,
    halves: tuple[Sequence[Deviation], Sequence[Deviation]],
) -> NormVerdict:
    """Apply rule 4 to a verdict that agrees.

    Args:
        net: the network.
        verdict: on each norm alone.
        halves: the deviations of its norms where they add up, on two halves of the images.
    """
    sums = (_added_up(one, other) for one, other in zip(*halves, strict=True) if one.judged)
    above = next((each for each in sums if each[0] > ADDED_UP), None)
    if verdict.verdict != "agrees" or above is None:
        return verdict
    size, name = above
    return NormVerdict(
        "not judged",
        "What arrives at each batch norm alone is what training recorded. Behind one another their "
        f"deviations add up to at least {size:.2f} standard deviations at {name} "
        f"({_owner(net, name)}), more than {ADDED_UP:g}: images of another size or kind than in "
        "training do that, and so does a small fault before this layer.",
        "",
        verdict.rows,
    )


def _added_up(one: Deviation, other: Deviation) -> tuple[float, str]:
    """The deviation of both halves of the images less its sampling error, and the norm."""
    sizes = [
        float(np.median(np.abs(a + b)) / 2 - _ERRORS * np.median(np.abs(a - b)) / 2)
        for a, b in ((one.mean, other.mean), (one.sd, other.sd))
    ]
    return max(sizes), one.name


def stem_level(net: DetectionNet, found: Sequence[Deviation]) -> float:
    """The largest deviation of the stem, infinite without any norm."""
    stem = _stem(net, found)
    return max((each.size for each in found[:stem]), default=math.inf)


def _decide(
    rows: Sequence[NormRow], limits: Sequence[tuple[float, float]], level: float
) -> tuple[StatisticsVerdict, str, str]:
    judged = [(row, limit) for row, limit in zip(rows, limits, strict=True) if row.judged]
    if level > STEM_LIMIT:
        return (
            "not judged",
            "The images are not of the kind that the model was trained on: what arrives at its "
            f"first batch norm, {rows[0].name}, is {level:.2f} standard deviations from what "
            f"training recorded, more than {STEM_LIMIT:g}.",
            "",
        )
    if len(judged) < _LEAST_NORMS:
        return "not judged", f"Only {len(judged)} batch norms can be judged.", ""
    for row, (_, upper) in judged:
        size = max(row.mean, row.sd)
        if size > upper:
            return (
                "disagrees",
                f"What arrives at {row.name} ({row.definition}) is {size:.2f} standard "
                f"deviations from what training recorded, more than {upper:.2f}: this layer, "
                "or one directly before it, computes something else than the network that was "
                "trained.",
                row.name,
            )
    worst = max(
        ((max(row.mean, row.sd) - lower, row) for row, (lower, _) in judged),
        key=lambda each: each[0],
    )
    if worst[0] > 0:
        row = worst[1]
        return (
            "not judged",
            f"What arrives at {row.name} ({row.definition}) is {max(row.mean, row.sd):.2f} "
            "standard deviations from what training recorded: too much to agree, too little to "
            "tell a fault from images of another kind.",
            "",
        )
    largest = max(max(row.mean, row.sd) for row, _ in judged)
    return (
        "agrees",
        f"What arrives at {len(judged)} batch norms is what training recorded, within "
        f"{largest:.2f} standard deviations.",
        "",
    )


def _limits(each: Deviation, level: float) -> tuple[float, float]:
    """The lower and the upper limit of a norm."""
    early = each.stride <= EARLY_STRIDE
    lower, upper = EARLY if early else DEEP
    widened = level * (_EARLY_BY_STEM if early else _DEEP_BY_STEM)
    return (lower, max(upper, widened))


def _stem(net: DetectionNet, found: Sequence[Deviation]) -> int:
    """How many of the first norms run before any module in doubt, at least 1."""
    certain = takewhile(lambda each: not _in_doubt(net, each.name), found)
    return max(1, sum(1 for _ in certain))


def _in_doubt(net: DetectionNet, name: str) -> bool:
    """Whether a norm belongs to a module whose arithmetic could be another."""
    return any(not isinstance(part, _BEYOND_DOUBT) for part in _blocks(net, name))


def _owner(net: DetectionNet, name: str) -> str:
    """The definitions that a norm belongs to, from the layer inwards."""
    return " > ".join(type(part).__name__ for part in _blocks(net, name))


def _blocks(net: DetectionNet, name: str) -> list[nn.Module]:
    """The modules around a norm that are no layers of torch, the outermost first."""
    parts = name.split(".")
    around = [net.get_submodule(".".join(parts[:end])) for end in range(2, len(parts))]
    return [
        part
        for part in around
        if isinstance(part, Block) or not type(part).__module__.startswith("torch.nn.")
    ]
