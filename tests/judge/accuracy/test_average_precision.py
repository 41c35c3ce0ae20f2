"""Matches, curves and average precision against pycocotools on whole data sets."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.judge.accuracy.average_precision import (
    ClassTable,
    class_tables,
    coco_ap,
    coco_classes,
    coco_map,
    ultralytics_map,
)
from ghost_deploy.judge.accuracy.bootstrap import Resampler
from ghost_deploy.judge.accuracy.matching import Matches, accumulate, match
from ghost_deploy.judge.datasets.labels import Labels
from tests.support.coco_reference import Case, evaluate, mean_precision, random_case


def matched(case: Case) -> list[Matches]:
    return [
        match(labels.xyxy, labels, found, case.classes)
        for labels, found in zip(case.objects, case.found, strict=True)
    ]


def once(case: Case) -> np.ndarray:
    return np.ones((1, len(case.objects)), np.int64)


def repeated(case: Case, weights: np.ndarray) -> Case:
    picked = np.repeat(np.arange(len(weights)), weights)
    return Case([case.objects[i] for i in picked], [case.found[i] for i in picked], case.classes)


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_image_by_image_is_what_pycocotools_gives_at_once(seed: int, crowd: bool) -> None:
    case = random_case(seed, crowd=crowd)
    expected = evaluate(case).eval
    curves = accumulate(matched(case), case.classes)
    np.testing.assert_array_equal(curves.precision, expected["precision"][:, :, :, 0, 2])
    np.testing.assert_array_equal(curves.recall, expected["recall"][:, :, 0, 2])


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_our_average_precision_is_pycocotools(seed: int, crowd: bool) -> None:
    case = random_case(seed, crowd=crowd)
    expected = evaluate(case).eval["precision"][:, :, :, 0, 2].mean(axis=1)  # (10, K)
    tables = class_tables(matched(case), case.classes)
    for k, table in enumerate(tables):
        np.testing.assert_allclose(coco_ap(table, once(case))[0], expected[:, k], atol=1e-12)
    assert map_of(tables, once(case))[0] == pytest.approx(expected.mean(), abs=1e-12)


@pytest.mark.parametrize("crowd", [False, True])
def test_a_weighted_image_counts_as_often_as_it_weighs(crowd: bool) -> None:
    case = random_case(7, crowd=crowd)
    # Distinct scores: which of several equal ones comes first is a matter of the images' order.
    found = [
        Detections(f.xyxy, f.score + np.float32(i) * 1e-4 + np.arange(len(f)) * 1e-6, f.class_id)
        for i, f in enumerate(case.found)
    ]
    case = Case(case.objects, found, case.classes)
    tables = class_tables(matched(case), case.classes)
    weights = np.random.default_rng(1).integers(0, 4, (6, len(case.objects)))
    values = map_of(tables, weights)
    for row, value in zip(weights, values, strict=True):
        assert value == pytest.approx(mean_precision(evaluate(repeated(case, row))), abs=1e-9)


def test_no_object_at_all_has_no_average_precision() -> None:
    case = Case([Labels.of([], [])], [Detections([[0, 0, 5, 5]], [0.9], [0])], 2)
    tables = class_tables(matched(case), 2)
    assert np.isnan(map_of(tables, once(case))).all()
    assert np.isnan(ultralytics_map(tables)).all()
    assert (accumulate(matched(case), 2).precision == -1).all()


def test_nothing_found_is_zero_not_unknown() -> None:
    case = Case([Labels.of([[0, 0, 5, 5]], [0])], [Detections.empty()], 2)
    tables = class_tables(matched(case), 2)
    assert map_of(tables, once(case))[0] == 0
    assert (ultralytics_map(tables) == 0).all()


def test_a_perfect_detector_has_one() -> None:
    labels = Labels.of([[0, 0, 5, 5], [10, 10, 30, 20]], [0, 1])
    case = Case([labels], [Detections(labels.xyxy, [0.9, 0.8], labels.class_id)], 2)
    tables = class_tables(matched(case), 2)
    assert map_of(tables, once(case))[0] == pytest.approx(1.0)
    np.testing.assert_allclose(ultralytics_map(tables), 0.995)  # its last point is always 0


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    accumulate(matched(random_case(0)), 3)
    assert capfd.readouterr() == ("", "")


def map_of(tables: list[ClassTable], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    return coco_map(coco_classes(tables, weights))


def maps_of(sampler: Resampler, tables: list[ClassTable]) -> NDArray[np.float64]:
    return coco_map(sampler.classes(tables))


def table(hits: list[int], objects: int) -> ClassTable:
    hit = np.tile(np.array(hits, bool), (10, 1))
    image = np.zeros(len(hits), np.intp)
    return ClassTable(image, hit, np.zeros_like(hit), np.array([objects], np.int64))


def test_ultralytics_interpolates_where_coco_takes_the_best_of_the_rest() -> None:
    # Recall 1/2 at precision 1, then recall 1 at precision 2/3, by hand:
    # COCO holds 1 for the 51 recalls up to 0.5 and 2/3 for the 50 above.
    (coco,) = map_of([table([1, 0, 1], 2)], np.ones((1, 1), np.int64))
    assert coco == pytest.approx((51 + 50 * 2 / 3) / 101)
    # Ultralytics' curve drops to 2/3 at recall 0.5 and to 0 at recall 1.
    (ultralytics, *_) = ultralytics_map([table([1, 0, 1], 2)])
    assert ultralytics == pytest.approx(0.5 + 0.5 * 2 / 3, abs=0.01)
    assert ultralytics < coco


def test_the_interval_of_a_model_with_itself_is_nothing() -> None:
    tables = class_tables(matched(random_case(3)), 3)
    maps = maps_of(Resampler(12, 200), tables)
    interval = Resampler.interval(maps, maps)
    assert (interval.low, interval.high) == (0, 0)


def test_the_interval_is_paired_seeded_and_holds_the_difference() -> None:
    case = random_case(3, images=40)
    worse = Case(case.objects, [f[f.score > 0.3] for f in case.found], case.classes)
    good, bad = (class_tables(matched(c), 3) for c in (case, worse))
    point = 100 * float(map_of(bad, once(case))[0] - map_of(good, once(case))[0])
    sampler = Resampler(40, 300, seed=5)
    interval = Resampler.interval(maps_of(sampler, good), maps_of(sampler, bad))
    assert interval.low < point < interval.high < 0
    again = Resampler(40, 300, seed=5)
    assert Resampler.interval(maps_of(again, good), maps_of(again, bad)) == interval
    # Unpaired draws would add the spread between data sets to that between models.
    other = Resampler(40, 300, seed=6)
    unpaired = Resampler.interval(maps_of(sampler, good), maps_of(other, bad))
    assert unpaired.high - unpaired.low > 1.5 * (interval.high - interval.low)
