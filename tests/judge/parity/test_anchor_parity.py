"""Parity of detectors with anchors: forms of the output, and the stored reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import HeadSpec, ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.gate import gate_for
from ghost_deploy.judge.parity.output_forms import canonical, scored
from ghost_deploy.judge.parity.stages import ReferenceResult, compare, lowered
from ghost_deploy.judge.parity.stored_reference import StoredImage, StoredReference
from ghost_deploy.processing.embedded_nms import embedded_nms
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.anchor_detectors import decode_in_float64
from tests.support.images import noisy_image
from tests.support.model_specs import STRIDES
from tests.support.two_class_model import SIDE, two_class_spec

IMAGE, SIZE = noisy_image(), (SIDE, SIDE)
SIZES = (((10.0, 13.0), (16.0, 30.0)), ((30.0, 61.0), (62.0, 45.0)), ((50.0, 40.0), (20.0, 60.0)))
FP32 = gate_for("fp32")


def spec_of(decoder: Any = "anchors") -> ModelSpec:
    return two_class_spec(
        head=HeadSpec(decoder=decoder, strides=STRIDES, anchor_sizes=SIZES, reg_max=1)
    )


def logits(seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    raw = rng.normal(-1, 2, (spec_of().head.anchors(SIZE), 7)).astype(np.float32)
    raw[:, 2:4] = np.maximum(raw[:, 2:4], -3)  # no box without area
    return raw


def decoded(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = decode_in_float64(raw, spec_of(), SIZE).astype(np.float32)
    return found


def detector(spec: ModelSpec, output: NDArray[Any]) -> Detector:
    def function(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return {"output0": np.repeat(output[None], len(feeds["images"]), axis=0)}

    return Detector(FakeRuntime.for_spec(spec, function), spec, lowered(spec.thresholds))


def reference(raw: NDArray[np.float32]) -> ReferenceResult:
    return ReferenceResult.of(detector(spec_of(), decoded(raw)), IMAGE, None)


def test_another_layout_is_a_problem_not_a_comparison() -> None:
    truth = reference(logits())
    other = two_class_spec()
    empty = np.zeros(other.head.output_shape(2, other.head.anchors(SIZE)), np.float32)
    found = compare(truth, detector(other, empty), FP32, 0.25)
    assert "'dfl'" in found.tensor.problem


def test_equal_outputs_are_equal_and_raw_ones_too() -> None:
    truth = reference(logits())
    for spec, output in ((spec_of(), decoded(logits())), (spec_of("anchors-raw"), logits())):
        found = compare(truth, detector(spec, output), FP32, 0.25)
        assert found.tensor.usable
        assert found.tensor.box_px.max() < 1e-3
        assert found.tensor.score.max() < 1e-6
        assert found.detections.matched == found.detections.reference > 10


def test_a_lower_objectness_is_a_difference_of_the_scores() -> None:
    output = decoded(logits())
    output[:, 4] *= 0.9
    found = compare(reference(logits()), detector(spec_of(), output), FP32, 0.25)
    assert found.tensor.score.max() > 0.05
    assert found.tensor.box_px.max() == 0


def test_exchanged_anchors_are_a_difference_of_the_boxes() -> None:
    spec = msgspec.structs.replace(
        spec_of("anchors-raw"),
        head=HeadSpec(decoder="anchors-raw", strides=STRIDES, anchor_sizes=SIZES[::-1]),
    )
    found = compare(reference(logits()), detector(spec, logits()), FP32, 0.25)
    assert found.tensor.box_px.max() > 5


def test_final_detections_of_the_plugin_are_compared_with_its_reference() -> None:
    spec, output = spec_of("efficient-nms"), decoded(logits())
    rows = embedded_nms(output, spec, SIZE)
    found = compare(reference(logits()), detector(spec, rows), FP32, 0.25)
    assert found.tensor.usable
    assert found.tensor.score.max() == 0
    assert found.detections.matched == found.detections.reference > 10
    back = scored(canonical(rows, spec, SIZE))
    assert back.shape == (6, len(output))
    assert back[4:].max() == rows[0, 4]


def test_the_stored_reference_keeps_the_anchors_that_count(tmp_path: Path) -> None:
    output = decoded(logits())
    output[300:, 4] = 1e-5
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    stored = StoredReference(
        spec_of(), (StoredImage("a", pixels, "0" * 64, output[None]),), {"ab": (output[None] / 2,)}
    )
    path = tmp_path / "reference.npz"
    stored.write(path)
    again = StoredReference.read(path.read_bytes(), where="it")
    (image,) = again.images
    assert again.spec == spec_of()
    assert image.output.shape == (1, *output.shape)
    score = scored(output)[4:].max(0)
    kept = score > 1e-3
    assert 100 < kept.sum() < len(output)
    np.testing.assert_array_equal(image.output[0, kept], output[kept])
    (int8,) = again.of_int8("ab").images  # type: ignore[union-attr]
    np.testing.assert_array_equal(int8.output[0, kept], output[kept] / 2)
    weak = np.argsort(-score)[250:]
    assert not image.output[0, weak[score[weak] < 1e-4]].any()
