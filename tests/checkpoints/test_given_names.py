"""A checkpoint whose class names are lost, with names from a data.yaml."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ghost_deploy as gd
from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.errors import InputError, StructureError
from ghost_deploy.judge.datasets.yolo import read_class_names
from tests.support.assets import BCCD, needs_assets, val_images
from tests.support.forged_checkpoints import changed_checkpoint, ghost_bytes, written

pytestmark = needs_assets

GIVEN = ("RBC", "WBC", "thrombocytes, small")


def lost(root: dict[str, Any]) -> None:
    del root["model"].state["names"]


def too_many(root: dict[str, Any]) -> None:
    root["model"].state["names"] = [str(number) for number in range(80)]


def unprintable(root: dict[str, Any]) -> None:
    root["model"].state["names"] = ["a\n", "", "c"]


@pytest.mark.parametrize("change", [lost, too_many, unprintable])
def test_given_names_take_the_place_of_lost_ones(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    path = written(tmp_path, changed_checkpoint(change))
    with pytest.raises(StructureError, match=r"--names data\.yaml"):
        load_checkpoint(path)
    assert load_checkpoint(path, class_names=GIVEN).spec.class_names == GIVEN


def test_names_of_a_good_checkpoint_are_replaced_too(tmp_path: Path) -> None:
    path = written(tmp_path, ghost_bytes())
    assert load_checkpoint(path, class_names=GIVEN).spec.class_names == GIVEN


@pytest.mark.parametrize("wrong", [GIVEN[:2], (*GIVEN, "one more")])
def test_one_name_for_each_class(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    path = written(tmp_path, changed_checkpoint(lost))
    with pytest.raises(StructureError, match=f"{len(wrong)} class names: expected 3"):
        load_checkpoint(path, class_names=wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("names: [a, b]", ("a", "b")),
        ("names: {1: b, 0: a}", ("a", "b")),
        ("nc: 2\nnames:\n  - 红细胞\n  - 'a, b'", ("红细胞", "a, b")),
        ("nc: 2", None),
        ("names: []", None),
        ("names: {0: a, 2: b}", None),
        ("val: images", None),
        ("- a", None),
    ],
)
def test_the_names_of_a_description(
    tmp_path: Path, text: str, expected: tuple[str, ...] | None
) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    if expected is None:
        with pytest.raises(InputError, match=r"data\.yaml"):
            read_class_names(path)
    else:
        assert read_class_names(path) == expected


def test_a_wrong_description_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml"):
        gd.export(tmp_path / "a.pt", tmp_path / "out", names=tmp_path / "gone.yaml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_bundle_with_given_names_is_proved_and_measured(tmp_path: Path) -> None:
    path = written(tmp_path, changed_checkpoint(lost))
    (tmp_path / "names.yaml").write_text("names: [RBC, WBC, thrombocytes]")
    made = gd.export(
        path,
        tmp_path / "out",
        formats=("onnx",),
        imgsz=320,
        images=val_images()[:2],
        names=tmp_path / "names.yaml",
    )
    assert made.spec.class_names == ("RBC", "WBC", "thrombocytes")
    with gd.load(made) as detector:
        assert set(detector(val_images()[0]).names) <= {"RBC", "WBC", "thrombocytes"}
    assert gd.parity(path, made, val_images()[:2]).passed
    few = tmp_path / "few.txt"
    few.write_text("\n".join(map(str, val_images()[:3])))
    data = tmp_path / "data.yaml"
    data.write_text(f"path: {BCCD}\nval: {few}\nnames: [RBC, WBC, thrombocytes]\n")
    report = gd.validate(made, data, checkpoint=path, store=False)
    assert report.reference is not None
    assert report.reference.kind == "checkpoint"
    assert report.rows[0].status == "passed"
