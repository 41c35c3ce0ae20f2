"""What a call of a detector takes: several images, paths of several, settings of its own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.processing.images import as_bgr
from ghost_deploy.processing.slices import Slicing
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.images import solid_image, write_image
from tests.support.model_specs import make_spec

# Two boxes of RBC that overlap by a third, one WBC on the first of them, one platelet apart.
FOUND = Detections(
    [[8, 8, 24, 24], [16, 8, 32, 24], [9, 8, 25, 24], [40, 40, 60, 60]],
    [0.9, 0.8, 0.5, 0.3],
    [0, 0, 1, 2],
)
SPEC = make_spec((64, 64))
IMAGE = solid_image((64, 64), 99)


def make_detector(spec: ModelSpec = SPEC, **options: Any) -> Detector:
    return Detector(FakeRuntime.for_spec(spec, FOUND), spec, **options)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["RBC", "RBC", "WBC", "Platelets"]),
        ({"conf": 0.4}, ["RBC", "RBC", "WBC"]),
        ({"conf": 0.95}, []),
        ({"iou": 0.2}, ["RBC", "WBC", "Platelets"]),
        ({"max_det": 2}, ["RBC", "RBC"]),
        ({"agnostic": True}, ["RBC", "RBC", "Platelets"]),
        ({"classes": ["WBC"]}, ["WBC"]),
        ({"classes": "WBC,Platelets"}, ["WBC", "Platelets"]),
        ({"classes": 0}, ["RBC", "RBC"]),
        ({"classes": [2, "1"]}, ["WBC", "Platelets"]),
        ({"classes": np.array([1])}, ["WBC"]),
        ({"classes": []}, ["RBC", "RBC", "WBC", "Platelets"]),
        # The others take no place among the best, and hide none of its boxes.
        ({"classes": ["WBC"], "max_det": 1}, ["WBC"]),
        ({"classes": ["WBC"], "agnostic": True}, ["WBC"]),
        ({"classes": ["WBC"], "conf": 0.6}, []),
    ],
    ids=str,
)
def test_settings_of_one_call(options: dict[str, Any], names: list[str]) -> None:
    detector = make_detector()
    assert detector(IMAGE, **options).names == names
    assert [found.names for found in detector.detect([IMAGE, IMAGE], **options)] == [names] * 2
    assert detector.thresholds == SPEC.thresholds
    assert len(detector(IMAGE)) == 4


def test_classes_are_kept_before_nms_wherever_they_are_named(tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    write_image(file, IMAGE)
    whole = make_detector()
    limited = whole.thresholds.changed(max_det=1, agnostic=True)
    detector = Detector(whole.runtime, SPEC, limited)
    assert detector(IMAGE).names == ["RBC"]
    assert detector(IMAGE, classes=["WBC"]).names == ["WBC"]
    ((_, found),) = gd.infer(detector, file, classes=["WBC"])
    assert found.names == ["WBC"]
    (result,) = gd.stream(file, detector, classes=["WBC"])
    assert result.detections.names == ["WBC"]
    kept = Detector(whole.runtime, SPEC, limited, classes=(1,))
    assert (kept(IMAGE).names, kept(IMAGE, classes=[2]).names) == (["WBC"], ["Platelets"])


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"conf": 1.5}, gd.SpecError, "conf"),
        ({"iou": -0.1}, gd.SpecError, "iou"),
        ({"max_det": 0}, gd.SpecError, "max_det"),
        ({"classes": ["horse"]}, gd.UsageError, r"no class 'horse'.*RBC, WBC, Platelets"),
        ({"classes": [3]}, gd.UsageError, "no class '3'"),
        ({"classes": [-1]}, gd.UsageError, "no class '-1'"),
    ],
    ids=str,
)
def test_wrong_settings(options: dict[str, Any], error: type[Exception], match: str) -> None:
    detector = make_detector()
    with pytest.raises(error, match=match):
        detector(IMAGE, **options)
    assert len(detector(IMAGE)) == 4


def test_settings_over_those_of_the_detector() -> None:
    detector = make_detector(thresholds=Thresholds(conf=0.6, max_det=3))
    assert len(detector(IMAGE)) == 2
    assert len(detector(IMAGE, conf=0.1)) == 3
    assert detector.thresholds == Thresholds(conf=0.6, max_det=3)


def test_a_head_without_nms_refuses_another() -> None:
    detector = make_detector(make_spec((64, 64), decoder="one2one"))
    assert detector(IMAGE, classes=["WBC"], max_det=1, conf=0.4).names == ["WBC"]
    with pytest.raises(gd.UsageError, match="no NMS"):
        detector(IMAGE, agnostic=True)


def test_settings_hold_for_slices() -> None:
    sliced = make_detector(slicing=Slicing(64, 0.25))
    image = solid_image((64, 150), 99)
    assert set(sliced(image, classes=["WBC"]).names) == {"WBC"}
    assert len(sliced(image, conf=0.85)) < len(sliced(image))
    assert len(sliced(image, max_det=2)) == 2


def test_threads_with_settings_of_their_own() -> None:
    detector = make_detector()
    limits = [0.1, 0.4, 0.6, 0.85] * 25
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda conf: len(detector(IMAGE, conf=conf)), limits))
    assert counts == [4, 3, 2, 1] * 25


def test_names() -> None:
    assert make_detector().names == {0: "RBC", 1: "WBC", 2: "Platelets"}


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_images_give_a_list(kind: Any) -> None:
    detector = make_detector()
    assert detector(kind([])) == []
    found = detector(kind([IMAGE, IMAGE, IMAGE]), conf=0.4)
    assert isinstance(found, list)
    assert [len(each) for each in found] == [3, 3, 3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images whose brightness is their number."""
    images = tmp_path / "images"
    images.mkdir()
    for number in (1, 2, 10):
        write_image(images / f"{number}.png", solid_image((64, 64), number))
    (images / "notes.txt").write_text("no image")
    return images


def read_numbers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The brightness of each image that is preprocessed."""
    seen: list[int] = []

    def watched(image: Any) -> Any:
        pixels = as_bgr(image)
        seen.append(int(pixels[0, 0, 0]))
        return pixels

    monkeypatch.setattr("ghost_deploy.processing.preprocess.as_bgr", watched)
    return seen


@pytest.mark.parametrize(
    ("path", "numbers"),
    [("", [1, 2, 10]), ("*.png", [1, 2, 10]), ("1*.png", [1, 10]), ("[2].png", [2])],
)
def test_a_folder_or_pattern_is_a_list_in_natural_order(
    path: str, numbers: list[int], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = read_numbers(monkeypatch)
    for source in (folder / path, str(folder / path)):
        found = make_detector()(source)
        assert isinstance(found, list)
        assert [len(each) for each in found] == [4] * len(numbers)
    assert seen == numbers * 2


def test_a_path_of_one_image_is_no_list(folder: Path) -> None:
    odd = folder / "a[1]*.png"  # a pattern, if there were no file of that name
    (folder / "1.png").rename(odd)
    detector = make_detector()
    for path in (odd, str(odd), folder / "2.png"):
        assert isinstance(detector(path), Detections)


def test_paths_without_an_image(folder: Path, tmp_path: Path) -> None:
    detector = make_detector()
    (tmp_path / "empty").mkdir()
    with pytest.raises(gd.ImageError, match="no image in the folder"):
        detector(tmp_path / "empty")
    with pytest.raises(gd.ImageError, match="no image at"):
        detector(str(folder / "*.webp"))
    with pytest.raises(gd.ImageError, match="there is no image"):
        detector(folder / "3.png")
    with pytest.raises(gd.ImageError, match="not a folder"):
        detector([folder])
    (folder / "3.png").write_bytes(b"broken")
    with pytest.raises(gd.ImageError, match=r"3\.png"):
        detector(folder)


@pytest.mark.parametrize(
    "wrong", [None, 3, 2.5, {"a": 1}, iter([])], ids=lambda x: type(x).__name__
)
def test_what_is_no_image(wrong: Any) -> None:
    with pytest.raises(gd.ImageError, match="cannot be used as an image"):
        make_detector()(wrong)
