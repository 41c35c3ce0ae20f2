"""Data sets of the COCO form: what is read, what is refused, and by which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.errors import InputError
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from tests.support.assets import BCCD, needs_assets
from tests.support.images import solid_image, write_image

GOOD = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 5, 20, 10], "iscrowd": 0}


def make(root: Path, annotations: list[Any], **changes: Any) -> Path:
    """One image of 40 x 20 pixels, two categories with ids 3 and 5."""
    write_image(root / "images" / "a.png", solid_image((20, 40)))
    document = {
        "info": {"year": 2026},
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 20}],
        "annotations": annotations,
        "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    file = root / "val.json"
    file.write_text(json.dumps({**document, **changes}))
    return file


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": []}, "0 images"),
        ({"categories": []}, "0 categories"),
        ({"images": [{"id": 7}]}, "file_name"),
        ({"categories": 5}, "categories"),
        ({"images": [{"id": 7, "file_name": "a.png", "width": 0, "height": 20}]}, "without width"),
        (
            {"images": [{"id": 7, "file_name": "a.png", "width": 4, "height": 2}] * 2},
            "image ids that occur more than once: 7",
        ),
        ({"categories": [{"id": 3, "name": "x"}] * 2}, "category ids"),
        (
            {"images": [{"id": 7, "file_name": "b.png", "width": 4, "height": 2}]},
            "no b.png in",
        ),
        (
            {"images": [{"id": 7, "file_name": "x" * 5000, "width": 4, "height": 2}]},
            "were not found",
        ),
        ({"images": [{"id": 7, "file_name": "a\0b", "width": 4, "height": 2}]}, "were not found"),
    ],
)
def test_a_document_that_cannot_be_used(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        open_dataset(make(tmp_path, [GOOD], **changes))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"images": NaN}', "\x00", '{"images": ' + "[" * 100_000]
)
def test_no_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "val.json").write_text(text)
    with pytest.raises(InputError, match="not a data set of the COCO form"):
        open_dataset(tmp_path / "val.json")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"image_id": 8}, "no image has the id 8"),
        ({"image_id": [7]}, r"no image has the id \[7\]"),
        ({"category_id": 4}, "no category has the id 4"),
        ({"category_id": None}, "no category has the id None"),
        ({"bbox": None}, "not x, y, width, height"),
        ({"bbox": [1, 2, 3]}, "not x, y, width, height"),
        ({"bbox": [1, 2, "3", None]}, "None is not a number"),
        ({"bbox": [1, 2, True, 4]}, "True is not a number"),
        ({"bbox": [10**400, 2, 3, 4]}, "not a"),
        ({"bbox": [1, 2, 10**300, 4]}, "outside the image"),
        ({"image_id": 10**400}, "no image has the id"),
        ({"category_id": {"a": [1]}}, "no category has the id"),
        ({"bbox": [1, 2, 0, 4]}, "without area"),
        ({"bbox": [1, 2, 3, -4]}, "without area"),
        ({"bbox": [400, 2, 3, 4]}, "outside the image"),
    ],
)
def test_a_broken_annotation_is_named(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    file = make(tmp_path, [GOOD, {**GOOD, "id": 99, **change}])
    with pytest.raises(InputError, match=says) as caught:
        open_dataset(file)
    assert "val.json: annotations[1], id 99" in str(caught.value)
    data = open_dataset(file, skip_broken=True)
    assert data.num_boxes == 1
    assert "1 broken label left out" in data.notes[0]


def test_boxes_classes_and_crowds(tmp_path: Path) -> None:
    crowd = {**GOOD, "id": 2, "category_id": 5, "iscrowd": 1}
    data = open_dataset(make(tmp_path, [GOOD, GOOD, crowd]))
    (image,) = data.images
    assert data.class_names == ("cat", "dog")  # in the order of the ids
    assert image.labels.class_id.tolist() == [0, 0, 1]  # pycocotools, too, counts repeated ones
    assert image.labels.crowd.tolist() == [False, False, True]
    np.testing.assert_array_equal(image.boxes_px((20, 40))[0], [10, 5, 30, 15])
    facts = data.facts()
    assert (facts.boxes, facts.crowds, facts.split) == ({"cat": 2, "dog": 0}, 1, "")


def test_an_image_of_another_size_than_its_labels(tmp_path: Path) -> None:
    data = open_dataset(make(tmp_path, [GOOD]))
    with pytest.raises(InputError, match="is not the one that was labelled"):
        data.images[0].boxes_px((40, 20))


def test_a_box_over_the_edge_is_kept_and_named(tmp_path: Path) -> None:
    data = open_dataset(make(tmp_path, [{**GOOD, "bbox": [30, 5, 20, 10]}]))
    assert data.num_boxes == 1
    assert "reach out of their image" in data.notes[0]
    assert "id 1 (a.png)" in data.notes[0]


@pytest.mark.parametrize("place", [".", "images", "images/val", "elsewhere"])
def test_where_images_are_found(place: str, tmp_path: Path) -> None:
    file = make(tmp_path, [GOOD])
    (tmp_path / "images" / "a.png").unlink()
    write_image(tmp_path / place / "a.png", solid_image((20, 40)))
    images = tmp_path / place if place == "elsewhere" else None
    data = open_dataset(file, images=images)
    assert data.images[0].path == tmp_path / place / "a.png"


def test_a_file_name_with_folders_of_another_place(tmp_path: Path) -> None:
    entry = {"id": 7, "file_name": "train2017/a.png", "width": 40, "height": 20}
    file = make(tmp_path, [GOOD], images=[entry])
    data = open_dataset(file, images=tmp_path / "images")
    assert data.images[0].path == tmp_path / "images" / "a.png"


def test_images_that_are_missing_are_all_named(tmp_path: Path) -> None:
    entries = [{"id": i, "file_name": f"{i}.png", "width": 4, "height": 2} for i in range(3)]
    with pytest.raises(InputError, match="3 of 3 images") as caught:
        open_dataset(make(tmp_path, [], images=entries), images=tmp_path / "images")
    assert "0.png, 1.png, 2.png" in str(caught.value)
    with pytest.raises(InputError, match="there is no folder"):
        open_dataset(make(tmp_path, [], images=entries), images=tmp_path / "absent")


@needs_assets
def test_both_forms_of_bccd_are_the_same_data() -> None:
    yolo, coco = open_dataset(BCCD / "data.yaml"), open_dataset(BCCD / "val.json")
    assert coco.class_names == yolo.class_names
    for one, other in zip(yolo.images, coco.images, strict=True):
        assert one.path == other.path
        assert one.labels.class_id.tolist() == other.labels.class_id.tolist()
        # Six decimals of 640 pixels.
        np.testing.assert_allclose(one.boxes_px((480, 640)), other.boxes_px((480, 640)), atol=1e-3)
