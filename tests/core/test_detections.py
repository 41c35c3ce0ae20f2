from __future__ import annotations

import dataclasses
import doctest
import json
import sys
import types

import cv2
import numpy as np
import pytest

from ghost_deploy.core import detections
from ghost_deploy.core.detections import Detection, Detections
from ghost_deploy.core.errors import ImageError, MissingExtraError, ShapeError
from ghost_deploy.core.frame import Frame

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


def test_rows_one_by_one(three):
    rows = list(three)
    assert [row.name for row in rows] == ["RBC", "Platelets", "Platelets"]
    assert rows[0] == Detection((0.0, 0.0, 10.0, 10.0), pytest.approx(0.9), 0, "RBC")
    assert rows[0].confidence == rows[0].score
    assert [three[i] for i in range(3)] == rows
    assert three[-1] == rows[-1]
    assert three[np.argmin(three.score)] == rows[2]
    assert list(Detections.empty()) == []
    for index in (3, -4, np.int64(3)):
        with pytest.raises(IndexError, match="of 3 detections"):
            three[index]
    with pytest.raises(IndexError):
        Detections.empty()[0]
    with pytest.raises(IndexError):
        three[three.score[:2] > 0]


def test_areas(three):
    assert three.area.tolist() == [100, 20, 6]
    assert three.area.dtype == Detections.empty().area.dtype == np.float32
    assert Detections.empty().area.shape == (0,)


@pytest.mark.parametrize(
    ("rows", "scores"),
    [
        ([True, False, True], [0.9, 0.5]),
        ([2, 0], [0.9, 0.5]),
        ([], []),
        (slice(1, None), [0.7, 0.5]),
        (np.zeros(3, bool), []),
        (np.array([], int), []),
    ],
    ids=str,
)
def test_selections(three, rows, scores):
    assert three[rows].confidence.tolist() == pytest.approx(scores)


def test_track_ids_follow_their_rows(three):
    tracked = dataclasses.replace(three, track_id=[7, 0, 3])
    assert tracked.track_id.dtype == np.int32
    assert [row.track_id for row in tracked] == [7, 0, 3]
    assert tracked[tracked.class_id == 2].track_id.tolist() == [0, 3]
    assert [row["track_id"] for row in tracked.to_dicts()] == [7, None, 3]
    assert [row.track_id for row in three] == [None] * 3
    unsorted = Detections([[0, 0, 1, 1]] * 2, [0.1, 0.9], [0, 0], track_id=[1, 2])
    assert unsorted.track_id.tolist() == [2, 1]
    with pytest.raises(ShapeError, match=r"track_id \(2,\)"):
        Detections([[0, 0, 1, 1]], [0.1], [0], track_id=[1, 2])


def test_drawing_on_any_kind_of_image(three, tmp_path):
    image = np.full((40, 60, 3), 128, np.uint8)
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), image)
    drawn = three.draw(image)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    assert (image == 128).all()
    assert (drawn != 128).any()
    assert not np.array_equal(drawn, three[:1].draw(image))
    assert np.array_equal(Detections.empty().draw(image), image)
    rgb = Frame(np.ascontiguousarray(image[..., ::-1]), color="rgb")
    for same in (path, str(path), path.read_bytes(), rgb):
        assert np.array_equal(three.draw(same), drawn)
    with pytest.raises(ImageError, match="gone"):
        three.draw(tmp_path / "gone.png")
