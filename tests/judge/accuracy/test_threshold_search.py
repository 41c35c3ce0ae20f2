"""Thresholds of a class, against a search through all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.errors import UsageError
from ghost_deploy.judge.accuracy.average_precision import ClassTable
from ghost_deploy.judge.accuracy.threshold_search import (
    LEAST_SCORE,
    ScoreSteps,
    ThresholdMetric,
    choose_step,
    f1_of,
    raw_curve,
    resampled,
)


def make_table(seed: int, count: int = 60, images: int = 12, digits: int = 2) -> ClassTable:
    """Detections of which the better ones are more often right; equal scores occur."""
    rng = np.random.default_rng(seed)
    score = np.sort(np.round(rng.random(count), digits))[::-1]
    hit = rng.random(count) < 0.2 + 0.7 * score
    image = rng.integers(0, images, count)
    objects = np.bincount(image[hit], minlength=images) + rng.integers(0, 2, images)
    both = np.repeat(hit[None], 10, axis=0)
    return ClassTable(image, both, np.zeros_like(both), objects.astype(np.int64), score)


def figures_above(table: ClassTable, conf: float) -> tuple[float, float]:
    """Precision and recall of what is above `conf`, as `infer` compares."""
    kept = table.score.astype(np.float32) > np.float32(conf)
    found = int(table.hit[0][kept].sum())
    return found / max(1, int(kept.sum())), found / int(table.objects.sum())


def single(steps: ScoreSteps) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return steps.figures(np.ones((1, len(steps.objects)), np.int64))


@pytest.mark.parametrize(
    "text", ["", "f2", "f1=0.5", "precision", "precision=", "recall=0", "recall=1.1", "precision=x"]
)
def test_metrics_that_are_not_there(text: str) -> None:
    with pytest.raises(UsageError, match="there is no metric"):
        ThresholdMetric.parse(text)


@pytest.mark.parametrize("text", ["f1", "precision=0.95", "recall=1"])
def test_metrics_are_written_as_they_are_read(text: str) -> None:
    assert str(ThresholdMetric.parse(text)) == text


def test_without_detections_nothing_is_chosen() -> None:
    table = make_table(0, count=0)
    steps = ScoreSteps.of(table)
    assert choose_step(ThresholdMetric("f1"), *single(steps)).tolist() == [-1]
    assert raw_curve(*(each[0] for each in single(steps))) == (0.0,) * 101


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("digits", [1, 2, 12])
def test_figures_behind_each_step_are_those_of_its_threshold(seed: int, digits: int) -> None:
    table = make_table(seed, digits=digits)
    steps = ScoreSteps.of(table)
    assert len(steps.conf) == len(set(table.score[table.score > LEAST_SCORE]))
    precision, recall = single(steps)
    for k, conf in enumerate(steps.conf):
        assert (precision[0, k], recall[0, k]) == pytest.approx(figures_above(table, conf))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("text", ["f1", "precision=0.8", "recall=0.6", "recall=0.9"])
def test_the_choice_is_the_best_of_all_thresholds(seed: int, text: str) -> None:
    table = make_table(seed)
    metric, steps = ThresholdMetric.parse(text), ScoreSteps.of(table)
    (step,) = choose_step(metric, *single(steps)).tolist()
    tried = [figures_above(table, conf) for conf in np.arange(LEAST_SCORE, 1, 0.001)]
    right = {
        "f1": lambda p, r: True,
        "precision": lambda p, r: p >= metric.target,
        "recall": lambda p, r: r >= metric.target,
    }[metric.kind]
    fit = [(p, r) for p, r in tried if right(p, r) and p + r > 0]
    assert (step >= 0) == bool(fit)
    if not fit:
        return
    precision, recall = figures_above(table, float(steps.conf[step]))
    assert right(precision, recall)
    if metric.kind == "f1":
        best = max(float(f1_of(np.array(p), np.array(r))) for p, r in fit)
        assert 2 * precision * recall / (precision + recall) == pytest.approx(best)
    elif metric.kind == "precision":
        assert recall == pytest.approx(max(r for _, r in fit))
    else:  # the highest threshold: the fewest detections
        assert recall == pytest.approx(min(r for _, r in fit))


def test_a_target_that_nothing_reaches() -> None:
    table = make_table(3)
    table.hit[:] = False
    steps = ScoreSteps.of(table)
    for text in ("f1", "precision=0.5", "recall=0.1"):
        assert choose_step(ThresholdMetric.parse(text), *single(steps)).tolist() == [-1]


def test_detections_in_crowd_regions_do_not_count() -> None:
    table = make_table(5)
    table.ignored[:] = ~table.hit  # all that is false lies in a crowd
    precision, _ = single(ScoreSteps.of(table))
    assert precision.min() == 1


def test_resampled_figures_equal_those_of_repeated_images() -> None:
    table = make_table(2)
    metric, steps = ThresholdMetric.parse("precision=0.7"), ScoreSteps.of(table)
    (step,) = choose_step(metric, *single(steps)).tolist()
    weights = np.random.default_rng(1).multinomial(12, np.full(12, 1 / 12), size=40)
    found = resampled(steps, metric, step, weights)
    for row, weight in zip(found, weights, strict=True):
        repeated = _repeat(table, weight)
        own = ScoreSteps.of(repeated)
        (again,) = choose_step(metric, *single(own)).tolist()
        chosen = figures_above(repeated, row[0]) if again >= 0 else (np.nan, np.nan)
        expected = [figures_above(repeated, float(own.conf[again]))] if again >= 0 else [chosen]
        assert chosen == pytest.approx(expected[0], nan_ok=True)
        assert tuple(row[1:]) == pytest.approx(figures_above(repeated, float(steps.conf[step])))


def _repeat(table: ClassTable, weight: NDArray[np.int64]) -> ClassTable:
    rows = np.repeat(np.arange(len(table.score)), weight[table.image])
    columns: list[Any] = [table.image[rows], table.hit[:, rows], table.ignored[:, rows]]
    return ClassTable(*columns, table.objects * weight, table.score[rows])


def test_the_curve_is_the_precision_where_a_recall_is_reached() -> None:
    precision, recall = np.array([1.0, 0.75, 0.6]), np.array([0.2, 0.5, 0.7])
    curve = raw_curve(precision, recall)
    assert [curve[i] for i in (0, 20, 21, 50, 51, 70, 71, 100)] == [
        1,
        1,
        0.75,
        0.75,
        0.6,
        0.6,
        0,
        0,
    ]
