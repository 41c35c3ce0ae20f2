from __future__ import annotations

import dataclasses
import doctest
import json
import sys
import types

import numpy as np
import pytest

from ghost_deploy.core import detections
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import MissingExtraError, ShapeError

NAMES = ("RBC", "WBC", "Platelets")


@pytest.fixture
def three():
    return Detections(
        [[1, 2, 3, 5], [0, 0, 10, 10], [4, 4, 8, 9]], [0.5, 0.9, 0.7], [2, 0, 2], NAMES
    )


def test_empty_is_a_value_like_any_other():
    for none in (Detections.empty(NAMES), Detections([], [], [], NAMES)):
        assert len(none) == 0
        assert (none.xyxy.shape, none.score.shape, none.class_id.shape) == ((0, 4), (0,), (0,))
        kinds = (none.xyxy.dtype, none.score.dtype, none.class_id.dtype)
        assert kinds == (np.float32, np.float32, np.int32)
        assert none.to_dicts() == none.to_coco(1) == none.names == []
        assert repr(none) == "Detections(0)"
        assert len(none[none.score > 0.5]) == 0


@pytest.mark.parametrize(
    ("xyxy", "score", "class_id"),
    [
        ([[0, 0, 1, 1]], [], []),
        ([], [0.5], [0]),
        ([[0, 0, 1, 1]], [0.5], [0, 1]),
        ([[0, 0, 1]], [0.5], [0]),
        ([0, 0, 1, 1], [0.5], [0]),
        ([[0, 0, 1, 1]], [[0.5]], [0]),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(xyxy, score, class_id):
    with pytest.raises(ShapeError, match="the columns of Detections do not fit together"):
        Detections(xyxy, score, class_id)


def test_rows_are_sorted_by_score_then_class_then_x1():
    found = Detections(
        [[9, 0, 10, 1], [5, 0, 6, 1], [1, 0, 2, 1], [3, 0, 4, 1]],
        [0.5, 0.5, 0.5, 0.8],
        [1, 0, 1, 2],
    )
    assert found.xyxy[:, 0].tolist() == [3, 5, 1, 9]
    assert found.class_id.tolist() == [2, 0, 1, 1]


def test_columns_have_their_dtypes_and_keep_sorted_arrays(three):
    assert three.xyxy.dtype == three.score.dtype == np.float32
    assert three.class_id.dtype == np.int32
    again = Detections(three.xyxy, three.score, three.class_id)
    assert again.score is three.score


def test_it_is_frozen(three):
    with pytest.raises(dataclasses.FrozenInstanceError):
        three.score = three.score


def test_rows_are_chosen_by_mask_index_and_slice(three):
    assert three[three.score > 0.6].score.tolist() == pytest.approx([0.9, 0.7])
    assert three[:1].class_id.tolist() == [0]
    assert three[np.array([2, 0])].score.tolist() == pytest.approx([0.9, 0.5])
    assert three[three.class_id == 1].class_names == NAMES


def test_names_fall_back_to_numbers():
    found = Detections([[0, 0, 1, 1]] * 3, [0.9, 0.8, 0.7], [1, 3, -1], NAMES)
    assert found.names == ["WBC", "3", "-1"]
    assert Detections([[0, 0, 1, 1]], [0.9], [1]).names == ["1"]


def test_repr_counts_by_class(three):
    assert repr(three) == "Detections(3: 1 RBC, 2 Platelets)"


def test_dicts_are_json(three):
    rows = three.to_dicts()
    assert json.loads(json.dumps(rows)) == rows
    assert rows[0] == {
        "xyxy": [0, 0, 10, 10],
        "score": pytest.approx(0.9),
        "class_id": 0,
        "class_name": "RBC",
    }


def test_coco_rows(three):
    rows = three.to_coco(17)
    assert json.loads(json.dumps(rows)) == rows
    assert [row["bbox"] for row in rows] == [[0, 0, 10, 10], [4, 4, 4, 5], [1, 2, 2, 3]]
    assert [row["category_id"] for row in rows] == [1, 3, 3]
    assert {row["image_id"] for row in rows} == {17}
    assert [row["category_id"] for row in three.to_coco(17, (90, 91, 92))] == [90, 92, 92]
    assert three.xyxy[0].tolist() == [0, 0, 10, 10]


def test_supervision_absent(three, monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match="pip install supervision"):
        three.to_supervision()


def test_supervision_gets_the_columns(three, monkeypatch):
    module = types.ModuleType("supervision")
    module.Detections = types.SimpleNamespace
    monkeypatch.setitem(sys.modules, "supervision", module)
    found = three.to_supervision()
    np.testing.assert_array_equal(found.xyxy, three.xyxy)
    np.testing.assert_array_equal(found.confidence, three.score)
    assert found.class_id.tolist() == [0, 2, 2]
    assert found.data["class_name"].tolist() == three.names


def test_examples_in_the_documentation():
    assert doctest.testmod(detections).failed == 0
