"""Our detections beside those that Ultralytics 8.4.190 itself recorded on the same files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.parity import DetectionFigures
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.differences import TensorDiff, compare_detections
from ghost_deploy.judge.parity.gate import gate_for
from ghost_deploy.judge.parity.stages import lowered
from ghost_deploy.judge.parity.tally import Tally
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.eager import EagerRuntime
from ghost_deploy.runtimes.table import open_file
from tests.support.assets import CHECKPOINTS, GHOST, GHOSTNET, needs_assets, val_images
from tests.support.exports import ExportedCheckpoint, export_bundle
from tests.support.two_class_model import detections_of

pytestmark = needs_assets
RECORDED = "detections_conf0.25_iou0.7_xyxy_score_class"
FEW = 10


def recorded(checkpoint: Path, side: int) -> dict[str, Detections]:
    document = json.loads(checkpoint.with_suffix(".reference.json").read_text())
    return {
        name: detections_of(rows) for name, rows in document["sizes"][str(side)][RECORDED].items()
    }


def compare(detector: Detector, checkpoint: Path, images: list[Path]) -> DetectionFigures:
    side = detector.spec.input.size_hw[0]
    expected = recorded(checkpoint, side)
    gate, tally = gate_for("fp32"), Tally()
    for image in images:
        diff = compare_detections(
            expected[image.name],
            detector(image),
            conf=0.25,
            margin=gate.max_score,
            min_iou=gate.min_iou,
        )
        tally.add(image.name, TensorDiff(), diff)
    return tally.detections()


def assert_within_gate(found: DetectionFigures) -> None:
    gate = gate_for("fp32")
    assert gate.max_box_px is not None
    assert found.reference > 0
    assert found.matched == found.total, found
    assert found.score.max <= gate.max_score
    assert found.box_px.max <= gate.max_box_px


def eager(checkpoint: Path, side: int) -> Detector:
    loaded = load_checkpoint(checkpoint, size_hw=(side, side))
    runtime = EagerRuntime(loaded.net, loaded.spec.input)
    return Detector(runtime, loaded.spec, lowered(loaded.spec.thresholds))


def opened(proof: ExportedCheckpoint, runtime: str, form: str) -> Detector:
    path = proof.bundle.verified_path(proof.bundle.artifact(form, "fp32"))
    spec = proof.bundle.spec
    return Detector(
        open_file(runtime, path, RuntimeOptions(precision="fp32")), spec, lowered(spec.thresholds)
    )


@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("side", [416, 640])
def test_the_reference_runtime(checkpoint: Path, side: int) -> None:
    assert_within_gate(compare(eager(checkpoint, side), checkpoint, val_images()[:FEW]))


@pytest.mark.parametrize(("runtime", "form"), [("ort", "onnx"), ("openvino", "openvino")])
@pytest.mark.parametrize(("name", "checkpoint"), [("ghost", GHOST), ("ghostnet", GHOSTNET)])
def test_exported_fp32(
    runtime: str, form: str, name: str, checkpoint: Path, request: pytest.FixtureRequest
) -> None:
    proof: ExportedCheckpoint = request.getfixturevalue(name)
    with opened(proof, runtime, form) as detector:
        assert_within_gate(compare(detector, checkpoint, val_images()[:FEW]))


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("side", [416, 640])
def test_every_fp32_path_on_all_images(checkpoint: Path, side: int, tmp_path: Path) -> None:
    images = val_images()
    assert_within_gate(compare(eager(checkpoint, side), checkpoint, images))
    proof = export_bundle(checkpoint, tmp_path / "bundle", side)
    for runtime, form in (("ort", "onnx"), ("openvino", "openvino")):
        with opened(proof, runtime, form) as detector:
            assert_within_gate(compare(detector, checkpoint, images))


def test_a_moved_box_is_seen() -> None:
    """The comparison above can fail: 0.06 px are too much."""
    checkpoint = GHOST
    expected = recorded(checkpoint, 416)
    name = val_images()[0].name
    moved = Detections(expected[name].xyxy + 0.06, expected[name].score, expected[name].class_id)
    diff = compare_detections(expected[name], moved, conf=0.25, margin=1e-4, min_iou=0.99)
    tally = Tally()
    tally.add(name, TensorDiff(), diff)
    with pytest.raises(AssertionError):
        assert_within_gate(tally.detections())


def test_the_recorded_thresholds_are_the_defaults() -> None:
    loaded = load_checkpoint(GHOST)
    assert msgspec.to_builtins(loaded.spec.thresholds) == {
        "conf": 0.25,
        "class_conf": (),
        "iou": 0.7,
        "max_det": 300,
        "agnostic": False,
    }
