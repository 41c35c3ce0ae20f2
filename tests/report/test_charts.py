"""Scales and the labels of points."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ghost_deploy.report.blocks import Cell
from ghost_deploy.report.charts.scale import Scale, tick_text
from ghost_deploy.report.charts.scatter import Level, Point, scatter
from ghost_deploy.report.charts.style import Style
from ghost_deploy.report.charts.tradeoff import DropLimit, TradeoffPoint, best_so_far, tradeoff
from tests.support.page_tracing import parse


@pytest.mark.parametrize(
    ("values", "zero", "ticks"),
    [
        ([3.0, 17.0], True, ["0", "5", "10", "15", "20"]),
        ([0.612, 0.613], False, None),
        ([0.0], True, None),
        ([5.0, 5.0, 5.0], False, None),
        ([-3.0], True, None),
        ([1e9, 2e9], False, None),
    ],
)
def test_scales_hold_their_values(values: list[float], zero: bool, ticks: list[str] | None) -> None:
    scale = Scale.over(values, 100, 0, zero=zero)
    if ticks and zero:
        assert [tick_text(value) for value in scale.ticks] == ticks
    for value in values:
        if not zero or value >= 0:
            assert scale.low <= value <= scale.high
            assert 0 <= scale(value) <= 100
    assert scale(scale.low) == 100
    assert scale(scale.high) == 0
    assert 2 <= len(scale.ticks) <= 12


def test_a_scale_is_not_narrower_than_asked() -> None:
    scale = Scale.over([0.61], 0, 1, least=0.01)
    assert scale.high - scale.low >= 0.01


def point(k: int) -> Point:
    return Point(
        label=Cell(f"a run with a name {k}", f"/rows/{k}/label", "text"),
        x=10.0 + 0.01 * k,
        y=0.61,
        x_at="",
        y_at="",
        x_high=11.0,
        y_range=(0.609, 0.611),
        style=Style("c1", "circle", ""),
        best=k == 0,
    )


@pytest.mark.parametrize(("screen", "width"), [("only-narrow", 400.0), ("only-wide", 860.0)])
def test_labels_of_near_points_do_not_cover_each_other(screen: str, width: float) -> None:
    page = scatter([point(k) for k in range(6)], [Level(0.61, "reference", "reference")])
    (chart,) = (n for n in parse(page).walk() if screen in n.classes)
    names = [n for n in chart.walk() if "name" in n.classes]
    boxes = []
    for name in names:
        x, y = float(name.attributes["x"]), float(name.attributes["y"])
        wide = 6.9 * len(name.text())
        left = x if name.attributes["text-anchor"] == "start" else x - wide
        assert left >= 0
        assert left + wide <= width
        boxes.append((left, y, left + wide, y + 15))
    assert len(boxes) == 6
    for i, (a, b, c, d) in enumerate(boxes):
        for e, f, g, h in boxes[:i]:
            assert not (a < g and e < c and b < h and f < d)


def _y_ticks(points: list[Point], levels: list[Level]) -> tuple[list[float], int]:
    page = parse(scatter(points, levels))
    (chart,) = (n for n in page.walk() if "only-wide" in n.classes)
    ticks = [float(n.text()) for n in chart.walk() if n.attributes.get("data-axis") == "y"]
    return ticks, sum("beyond" in n.classes for n in chart.walk())


def test_one_failed_point_does_not_stretch_the_accuracy_axis() -> None:
    good = [point(k) for k in range(3)]
    levels = [Level(0.61, "reference", "reference"), Level(0.609, "least", "gate")]
    ticks, beyond = _y_ticks(good, levels)
    assert beyond == 0
    far = replace(point(3), y=0.05, y_range=(0.04, 0.06), hollow=True)
    assert _y_ticks([*good, far], levels) == (ticks, 1)
    near_by = replace(point(3), y=0.605, hollow=True)
    shown, beyond = _y_ticks([*good, near_by], levels)
    assert beyond == 0
    assert min(shown) <= 0.605
    # Where nothing passes, every point is shown.
    alone, beyond = _y_ticks([far, replace(far, y=0.4)], [])
    assert beyond == 0
    assert min(alone) <= 0.05
    assert max(alone) >= 0.4


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ([], []),
        ([(0.9, 1.0)], [0]),
        ([(0.8, 0.5), (0.9, 1.0)], [1, 0]),
        ([(0.9, 1.0), (0.8, 1.2), (0.7, 0.9)], [0, 2]),
        ([(0.9, 1.0), (0.9, 0.5), (0.8, 0.5)], [1]),
        ([(0.9, -0.1), (0.8, 0.0)], [0]),
    ],
)
def test_the_points_that_no_other_beats(points: list[tuple[float, float]], best: list[int]) -> None:
    assert best_so_far(points) == best


@pytest.mark.parametrize("losses", [[0.0], [-0.4, -0.2], [30.0, 1.0, 0.49], [0.5] * 3])
def test_a_tradeoff_holds_its_points_the_limit_and_nothing_lost(losses: list[float]) -> None:
    points = [TradeoffPoint(0.9 - 0.1 * k, loss, "", "") for k, loss in enumerate(losses)]
    limit = DropLimit(0.5, Cell("0.5", "/rows/0/max_drop", "plain"))
    both = parse(tradeoff(points, limit, ("share", "points")))
    (chart,) = (n for n in both.walk() if "only-narrow" in n.classes)
    places = [
        (float(n.attributes["cx"]), float(n.attributes["cy"]))
        for n in chart.walk()
        if "mark" in n.classes
    ]
    assert len(places) == len(losses)
    assert all(40 <= x <= 390 and 20 <= y <= 290 for x, y in places)
    ticks = [float(n.text()) for n in chart.walk() if n.attributes.get("data-axis") == "y"]
    assert min(ticks) <= min(0.0, *losses) <= max(0.5, *losses) <= max(ticks)
