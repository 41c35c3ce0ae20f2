"""The classes of a data set and those of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ghost_deploy.core.errors import InputError
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.judge.datasets.labels import Labels


def data_of(names: tuple[str, ...], ids: list[int]) -> DataSet:
    labels = Labels.of([[0, 0, 1, 1]] * len(ids), ids)
    return DataSet("d.yaml", "yolo", "val", names, (LabelledImage(Path("a.png"), labels),))


def test_the_same_classes() -> None:
    data = data_of(("cat", "dog"), [0, 1])
    assert data.for_model(["cat", "dog"]) is data


def test_without_names_the_order_is_taken_for_the_models() -> None:
    data = data_of((), [1]).for_model(["cat", "dog"])
    assert data.class_names == ("cat", "dog")
    assert "names no classes" in data.notes[0]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("dog", "cat"), "in another order"),
        (("cat", "dog", "cow"), "has 3 classes, the model has 2"),
        (("cat",), "has 1 classes, the model has 2"),
        (("cat", "cow"), "are not the model's"),
    ],
)
def test_other_classes_are_refused(names: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        data_of(names, [0]).for_model(["cat", "dog"])
    assert str(list(names)) in str(caught.value)


@pytest.mark.parametrize(
    ("names", "ids", "expected"),
    [
        (("dog", "cat"), [0, 1, 0], [1, 0, 1]),
        (("animals", "cat", "dog"), [1, 2], [0, 1]),  # Roboflow's empty class of all
    ],
)
def test_matched_by_name(names: tuple[str, ...], ids: list[int], expected: list[int]) -> None:
    data = data_of(names, ids).for_model(["cat", "dog"], by_name=True)
    assert data.images[0].labels.class_id.tolist() == expected
    assert data.class_names == ("cat", "dog")
    assert "matched by name" in data.notes[0]


@pytest.mark.parametrize(
    ("names", "model", "says"),
    [
        (("cat", "cow"), ("cat", "dog"), "labelled, but not the model's: \\['cow'\\]"),
        (("cat", "cow"), ("cat", "cow", "dog"), "absent from the data: \\['dog'\\]"),
        (("cat", "cat"), ("cat", "dog"), "a name occurs twice"),
    ],
)
def test_what_cannot_be_matched_by_name(
    names: tuple[str, ...], model: tuple[str, ...], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        data_of(names, [0, 1]).for_model(model, by_name=True)


def test_crowds_do_not_count() -> None:
    data = data_of(("cat", "dog"), [0, 1])
    (image,) = data.images
    crowd = replace(image.labels, crowd=image.labels.crowd | [True, False])
    data = replace(data, images=(replace(image, labels=crowd),))
    assert data.num_boxes == 1
    assert data.facts().boxes == {"cat": 0, "dog": 1}


def test_the_fingerprint_tells_data_apart() -> None:
    prints = {data_of(("cat", "dog"), ids).facts().fingerprint for ids in ([0], [1], [0, 1])}
    assert len(prints) == 3
    assert data_of(("cat", "dog"), [0]).facts().fingerprint in prints
