"""The rule of the verdict, on deviations as they could be."""

from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.checkpoints.norms.deviation import Deviation
from ghost_deploy.checkpoints.norms.norm_verdict import (
    ADDED_UP,
    DEEP,
    EARLY,
    EARLY_STRIDE,
    STEM_LIMIT,
    judge_added_up,
    judge_norms,
    stem_level,
)
from ghost_deploy.models.network import DetectionNet
from tests.support.module_trees import tiny

NET = tiny()
NAMES = [name for name, part in NET.named_modules() if type(part).__name__ == "BatchNorm2d"]


def found(stem: float = 0.05, **sizes: float) -> list[Deviation]:
    """Deviations of all norms; the first has `stem`, `at_N` is that of the Nth, others 0.05."""
    made = []
    for place, name in enumerate(NAMES):
        size = stem if place == 0 else sizes.get(f"at_{place}", 0.05)
        stride = 2 if place < 3 else 16
        made.append(Deviation(name, np.full(8, size), np.full(8, -size / 2), stride, True))
    return made


def test_no_norm_is_not_judged() -> None:
    assert judge_norms(NET, []).verdict == "not judged"
    assert stem_level(NET, []) > STEM_LIMIT


def test_within_the_band_it_agrees() -> None:
    verdict = judge_norms(NET, found())
    assert verdict.verdict == "agrees"
    assert verdict.departs == ""
    assert [row.name for row in verdict.rows] == NAMES
    assert not verdict.rows[0].judged
    assert verdict.rows[1].mean == 0.05


@pytest.mark.parametrize(
    ("sizes", "verdict", "departs"),
    [
        ({"at_5": DEEP[1] + 0.01}, "disagrees", NAMES[5]),
        ({"at_5": DEEP[0] + 0.01}, "not judged", ""),
        ({"at_5": DEEP[0] - 0.01}, "agrees", ""),
        ({"at_2": EARLY[1] + 0.01}, "disagrees", NAMES[2]),
        ({"at_2": EARLY[1] - 0.01}, "not judged", ""),
        ({"at_2": EARLY[0] - 0.01}, "agrees", ""),
        ({"at_8": 3.0, "at_7": DEEP[1] + 0.1}, "disagrees", NAMES[7]),
        ({"stem": STEM_LIMIT + 0.01, "at_5": 3.0}, "not judged", ""),
        ({"stem": 0.19, "at_5": 0.37}, "not judged", ""),
        ({"stem": 0.19, "at_5": 0.39}, "disagrees", NAMES[5]),
    ],
)
def test_the_bands(sizes: dict[str, float], verdict: str, departs: str) -> None:
    assert EARLY_STRIDE == 4
    judged = judge_norms(NET, found(**sizes))
    assert (judged.verdict, judged.departs) == (verdict, departs)
    if departs:
        assert departs in judged.sentence


def test_the_verdict_names_the_definitions_around_the_norm() -> None:
    place = next(i for i, name in enumerate(NAMES) if ".m.0.conv.0.cv1" in name)
    judged = judge_norms(NET, found(**{f"at_{place}": 2.0}))
    row = judged.rows[place]
    assert row.definition.endswith("GhostBottleneck > GhostConv > Conv")
    assert row.definition in judged.sentence


def test_norms_that_cannot_be_judged_do_not_count() -> None:
    deviations = found(at_5=2.0)
    deviations[5] = Deviation(NAMES[5], np.full(8, 2.0), np.zeros(8), 16, False)
    assert judge_norms(NET, deviations).verdict == "agrees"


def test_few_norms_are_not_enough() -> None:
    assert judge_norms(NET, found()[:3]).verdict == "not judged"


def test_a_network_whose_first_layer_is_in_doubt_has_a_stem_of_one() -> None:
    assert isinstance(NET, DetectionNet)
    inside = [each for each in found() if ".m." in each.name]
    assert stem_level(NET, inside) == 0.05


@pytest.mark.parametrize(
    ("alone", "halves", "verdict"),
    [
        ({}, (0.05, 0.05), "agrees"),
        ({}, (ADDED_UP - 0.01, ADDED_UP - 0.01), "agrees"),
        ({}, (ADDED_UP + 0.01, ADDED_UP + 0.01), "not judged"),
        ({}, (2 * ADDED_UP, 0.05), "agrees"),
        ({}, (2 * ADDED_UP, 1.5 * ADDED_UP), "not judged"),
        ({"at_5": DEEP[1] + 0.01}, (2.0, 2.0), "disagrees"),
        ({"stem": STEM_LIMIT + 0.01}, (0.05, 0.05), "not judged"),
    ],
)
def test_deviations_that_add_up_beyond_their_error_leave_it_open(
    alone: dict[str, float], halves: tuple[float, float], verdict: str
) -> None:
    first = judge_norms(NET, found(**alone))
    one, other = (found(at_6=size) for size in halves)
    judged = judge_added_up(NET, first, (one, other))
    assert judged.verdict == verdict
    assert judged.rows == first.rows
    assert (NAMES[6] in judged.sentence) == (first.verdict == "agrees" != verdict)


def test_norms_that_cannot_be_judged_do_not_add_up() -> None:
    deviations = found(at_5=2.0)
    deviations[5] = Deviation(NAMES[5], np.full(8, 2.0), np.zeros(8), 16, False)
    first = judge_norms(NET, found())
    assert judge_added_up(NET, first, (deviations, deviations)).verdict == "agrees"
