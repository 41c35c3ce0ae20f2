"""The accuracy of one detector: with detections made to order, and against recorded figures."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.errors import ImageError, InputError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.measure import measure
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.judge.datasets.labels import Labels
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.runtimes.eager import EagerRuntime
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.assets import BCCD, CHECKPOINTS, GHOST, needs_assets
from tests.support.images import solid_image, write_image

SIDE = 64
SPEC = ModelSpec(
    name="toy",
    family="toy",
    class_names=("cat", "dog"),
    input=InputSpec(size_hw=(SIDE, SIDE)),
    head=HeadSpec(decoder="dfl", strides=(8, 16, 32)),
)
BOXES = np.array([[8, 8, 40, 24], [30, 30, 60, 62]], np.float64)


def data_of(folder: Path, labels: Labels, count: int = 3) -> DataSet:
    images = []
    for number in range(count):
        path = folder / f"{number}.png"
        write_image(path, solid_image((SIDE, SIDE)))
        images.append(LabelledImage(path, labels, (SIDE, SIDE)))
    return DataSet("d.yaml", "yolo", "val", SPEC.class_names, tuple(images))


def detector(scores: Mapping[tuple[int, int], float], spec: ModelSpec = SPEC) -> Detector:
    """Finds `BOXES[anchor]` with the score of (anchor, class), in every image."""

    def function(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        output = np.zeros((len(feeds["images"]), 6, SPEC.head.anchors((SIDE, SIDE))), np.float32)
        for (anchor, class_id), score in scores.items():
            low, high = BOXES[anchor, :2], BOXES[anchor, 2:]
            output[:, :4, anchor] = np.concatenate(((low + high) / 2, high - low))
            output[:, 4 + class_id, anchor] = score
        return {"output0": output}

    return Detector(FakeRuntime.for_spec(spec, function), spec)


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mAP is not defined"):
        measure(detector({}), data_of(tmp_path, Labels.of([], []), 0))


def test_no_object(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="mAP is not defined") as caught:
        measure(detector({}), data_of(tmp_path, Labels.of([], [])))
    assert "3 images" in str(caught.value)


def test_classes_of_another_model(tmp_path: Path) -> None:
    data = DataSet("d.yaml", "yolo", "val", ("cow",), ())
    with pytest.raises(InputError, match="has 1 classes, the model has 2"):
        measure(detector({}), data)


def test_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    data = data_of(tmp_path, Labels.of(BOXES, [0, 1]))
    (tmp_path / "1.png").write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"1\.png"):
        measure(detector({}), data)


def test_everything_found(tmp_path: Path) -> None:
    found = measure(
        detector({(0, 0): 0.9, (1, 1): 0.8}), data_of(tmp_path, Labels.of(BOXES, [0, 1]))
    ).accuracy
    assert (found.map50_95, found.map50, found.map75, found.recall) == pytest.approx((1, 1, 1, 1))
    assert (found.images, found.boxes) == (3, 6)
    assert [(c.name, c.boxes) for c in found.classes] == [("cat", 3), ("dog", 3)]
    assert "conf 0.001, IoU 0.7, multi-label, max 300, square letterbox at 64x64" in found.protocol


def test_nothing_found(tmp_path: Path) -> None:
    found = measure(detector({}), data_of(tmp_path, Labels.of(BOXES, [0, 1]))).accuracy
    assert (found.map50_95, found.recall) == (0, 0)


def test_a_class_without_objects_is_unknown_and_does_not_count(tmp_path: Path) -> None:
    found = measure(
        detector({(0, 0): 0.9, (1, 1): 0.8}), data_of(tmp_path, Labels.of(BOXES[:1], [0]))
    ).accuracy
    cat, dog = found.classes
    assert found.map50_95 == pytest.approx(1)
    assert cat.ap50_95 == pytest.approx(1)
    assert (dog.boxes, dog.ap50_95, dog.ap50, dog.recall) == (0, None, None, None)


def test_every_class_above_the_threshold_counts(tmp_path: Path) -> None:
    """Multi-label, and far below the detector's own threshold of 0.25."""
    scores = {(0, 0): 0.9, (0, 1): 0.002, (1, 1): 0.01}
    found = measure(detector(scores), data_of(tmp_path, Labels.of(BOXES[[0, 1]], [1, 1]))).accuracy
    assert found.classes[1].recall == pytest.approx(1)


def test_a_crowd_counts_neither_as_found_nor_as_false(tmp_path: Path) -> None:
    scores = {(0, 0): 0.8, (1, 0): 0.9}
    alone = data_of(tmp_path, Labels.of(BOXES[:1], [0]))
    crowd = data_of(tmp_path, Labels.of(BOXES, [0, 0], [False, True]))
    assert measure(detector(scores), alone).accuracy.map50 == pytest.approx(0.5, abs=0.01)
    assert measure(detector(scores), crowd).accuracy.map50 == pytest.approx(1)


def test_a_graph_of_a_fixed_batch_is_fed_whole_batches(tmp_path: Path) -> None:
    import msgspec

    spec = msgspec.structs.replace(SPEC, input=InputSpec(size_hw=(SIDE, SIDE), batch=(2, 2)))
    found = measure(
        detector({(0, 0): 0.9, (1, 1): 0.8}, spec), data_of(tmp_path, Labels.of(BOXES, [0, 1]))
    ).accuracy
    assert (found.images, found.map50_95) == (3, pytest.approx(1))


def test_progress_counts_images(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    measure(
        detector({}),
        data_of(tmp_path, Labels.of(BOXES, [0, 1])),
        lambda what, done, total: told.append((done, total)),
    )
    assert told == [(0, 3), (1, 3), (2, 3)]


def check_recorded_reference(checkpoint: Path, side: int) -> None:
    """pycocotools' figures of Ultralytics' own detections: square letterbox, maxDets 300."""
    recorded = json.loads(checkpoint.with_suffix(".reference.json").read_text())["sizes"][str(side)]
    loaded = load_checkpoint(checkpoint, size_hw=(side, side))
    with Detector(EagerRuntime(loaded.net, loaded.spec.input), loaded.spec) as net:
        found = measure(net, open_dataset(BCCD / "val.json")).accuracy
    # The limit is 0.2 point; measured at most 1e-7.
    assert found.map50_95 == pytest.approx(recorded["pycocotools_map50_95"], abs=1e-4)
    assert found.map50 == pytest.approx(recorded["pycocotools_map50"], abs=1e-4)
    each = [c.ap50_95 for c in found.classes]
    assert each == pytest.approx(recorded["map50_95_per_class"], abs=1e-4)


def test_several_threads_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the result, and not `sys.stdout`, which is kept from pycocotools meanwhile."""
    forks: list[FakeRuntime] = []

    def fork(runtime: FakeRuntime) -> FakeRuntime:
        forks.append(copy.copy(runtime))
        return forks[-1]

    monkeypatch.setattr(FakeRuntime, "_fork", fork)
    scores, out = {(0, 0): 0.9, (1, 1): 0.8, (0, 1): 0.3}, sys.stdout
    data = data_of(tmp_path, Labels.of(BOXES, [0, 1]), 60)
    alone = measure(detector(scores), data).accuracy
    assert measure(detector(scores), data, threads=4).accuracy == alone
    assert len(forks) == 3
    assert sys.stdout is out
    assert capsys.readouterr().out == ""


@needs_assets
def test_the_recorded_reference_is_reached() -> None:
    check_recorded_reference(GHOST, 416)


@needs_assets
@pytest.mark.slow
@pytest.mark.parametrize("side", [416, 640])
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
def test_all_recorded_references_are_reached(checkpoint: Path, side: int) -> None:
    check_recorded_reference(checkpoint, side)


def test_an_agnostic_model_is_measured_with_its_own_nms(tmp_path: Path) -> None:
    """Each box has a better wrong class: with NMS by class the right one counts too."""
    labels = Labels.of(BOXES[:1], [0])
    scores = {(0, 1): 0.9, (0, 0): 0.5}
    limits = msgspec.structs.replace(SPEC.thresholds, agnostic=True)
    agnostic = msgspec.structs.replace(SPEC, thresholds=limits)
    data = data_of(tmp_path, labels)
    by_class = measure(detector(scores), data).accuracy
    over_all = measure(detector(scores, agnostic), data).accuracy
    assert (by_class.map50, over_all.map50) == (pytest.approx(1), 0)
    assert "class-agnostic" in over_all.protocol
    assert "agnostic" not in by_class.protocol


def test_a_reference_is_measured_by_the_rules_of_the_nms_in_the_graph(tmp_path: Path) -> None:
    """The right class is second of its anchor, or below the floor: such an NMS leaves it out."""
    labels = Labels.of(BOXES, [0, 1])
    found = detector({(0, 1): 0.9, (0, 0): 0.5, (1, 1): 0.005})
    rules = msgspec.structs.replace(SPEC, head=HeadSpec(decoder="nms", strides=(8, 16, 32)))
    data = data_of(tmp_path, labels)
    plain, limited = measure(found, data).accuracy, measure(found, data, rules=rules).accuracy
    assert plain.map50 > 0.5
    assert limited.map50 == 0
    assert "conf 0.01, IoU 0.7, best class of an anchor, max 300" in limited.protocol
