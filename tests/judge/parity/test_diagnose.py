"""A fault put into one stage is blamed on that stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.parity import Attribution
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.diagnose import FailedCandidate, diagnose
from ghost_deploy.judge.parity.gate import gate_for
from ghost_deploy.judge.parity.inputs import InputImage
from ghost_deploy.judge.parity.stages import lowered
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.runtimes.base import Runtime
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.images import noisy_image
from tests.support.two_class_model import raw_output, two_class_spec

SPEC = two_class_spec()
IMAGE = noisy_image()

# Two boxes of one class overlap by an IoU of 0.6: NMS keeps both at 0.7 and one at 0.5.
ROWS = [
    (4, 12, 34, 42, 0.9, 0),
    (4, 19.5, 34, 49.5, 0.8, 0),
    (40, 20, 60, 50, 0.6, 1),
    (20, 10, 50, 30, 0.26, 1),
]


def model(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Boxes and scores that depend a little on the image, so that its tensor matters."""
    output = raw_output(ROWS)
    output[:4, : len(ROWS)] += feeds["images"].mean()
    return {"output0": output[None]}


def runtime(function: Any = model, precision: str = "fp32", spec: ModelSpec = SPEC) -> Runtime:
    fake = FakeRuntime.for_spec(spec, function)
    fake.info = replace(fake.info, precision=precision)
    return fake


def detector(
    function: Any = model,
    precision: str = "fp32",
    spec: ModelSpec = SPEC,
    thresholds: Thresholds = SPEC.thresholds,
    kind: type[Detector] = Detector,
) -> Detector:
    return kind(runtime(function, precision, spec), spec, lowered(thresholds))


def blame(failed: Detector, plain: Detector | None = None) -> Attribution:
    precision = failed.runtime.info.precision
    found = FailedCandidate(failed, gate_for(precision), plain)
    image = InputImage("image.jpg", lambda: IMAGE, str)
    return diagnose(detector(), found, image, SPEC.thresholds.conf)


def changed(change: Any) -> Any:
    """The model with its raw output changed in place by `change`."""

    def function(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        outputs = model(feeds)
        change(outputs["output0"][0])
        return outputs

    return function


def move_boxes(output: NDArray[Any]) -> None:
    output[:4] += 3


def move_scores(output: NDArray[Any]) -> None:
    output[4:] *= 0.8


def spoil(output: NDArray[Any]) -> None:
    output[0, 0] = np.nan


def stages(found: Attribution) -> dict[str, bool]:
    return {finding.stage: finding.ok for finding in found.findings}


def test_no_fault_is_unclear() -> None:
    found = blame(detector())
    assert found.stage == "unclear"
    assert all(stages(found).values())


@pytest.mark.parametrize(
    "change",
    [
        {"pad_value": 0},
        {"color": "bgr"},
        {"divisor": 1.0},
        {"mean": (0.5, 0.5, 0.5)},
    ],
)
def test_preprocess(change: dict[str, Any]) -> None:
    spec = two_class_spec(input=msgspec.structs.replace(SPEC.input, **change))
    found = blame(detector(spec=spec))
    assert found.stage == "preprocess"
    assert "input tensors differ by" in found.sentence
    assert stages(found)["graph"], "the other stages got the reference's own input"


@pytest.mark.parametrize("change", [move_boxes, move_scores, spoil])
def test_graph(change: Any) -> None:
    found = blame(detector(changed(change)))
    assert found.stage == "graph"
    assert stages(found)["preprocess"]


@pytest.mark.parametrize(
    ("precision", "change"),
    [
        *((p, change) for p in ("fp16", "bf16") for change in (move_boxes, move_scores, spoil)),
        ("int8", spoil),  # int8 has no limit on differences
    ],
)
def test_precision(change: Any, precision: str) -> None:
    found = blame(detector(changed(change), precision), plain=detector())
    assert found.stage == "precision"
    assert stages(found)["graph"]
    assert precision in found.sentence


@pytest.mark.parametrize("change", [move_boxes, move_scores, spoil])
def test_reduced_precision_of_a_wrong_graph_is_the_graph(change: Any) -> None:
    wrong = changed(change)
    assert blame(detector(wrong, "fp16"), plain=detector(wrong)).stage == "graph"


def test_without_an_fp32_run_it_says_so() -> None:
    found = blame(detector(changed(move_boxes), "fp16"))
    assert found.stage == "graph or precision"


def test_nms() -> None:
    found = blame(detector(thresholds=Thresholds(iou=0.5)))
    assert found.stage == "decode/NMS"
    assert "3 of 4" in found.sentence
    assert stages(found) == {"preprocess": True, "graph": True, "decode/NMS": False}


class Shifted(Detector):
    """Goes back to the source image with a border that is one pixel off."""

    def postprocess(
        self, outputs: Mapping[str, NDArray[Any]], letterboxes: Sequence[Letterbox]
    ) -> list[Detections]:
        wrong = [
            box if box.pad_tl == (0, 0) else replace(box, pad_tl=(box.pad_tl[0] + 1, box.pad_tl[1]))
            for box in letterboxes
        ]
        return super().postprocess(outputs, wrong)


class Rescored(Detector):
    """Reports other scores than the model gave."""

    def postprocess(
        self, outputs: Mapping[str, NDArray[Any]], letterboxes: Sequence[Letterbox]
    ) -> list[Detections]:
        found = super().postprocess(outputs, letterboxes)
        return [Detections(d.xyxy, d.score * 0.99, d.class_id, d.class_names) for d in found]


def test_descale() -> None:
    found = blame(detector(kind=Shifted))
    assert found.stage == "descale"
    assert stages(found)["decode/NMS"]
    assert "1 px" in found.sentence


def test_decode() -> None:
    assert blame(detector(kind=Rescored)).stage == "decode/NMS"


def test_the_first_of_two_faults_is_blamed_and_both_are_listed() -> None:
    spec = two_class_spec(input=msgspec.structs.replace(SPEC.input, pad_value=0))
    found = blame(detector(changed(move_boxes), spec=spec))
    assert found.stage == "preprocess"
    assert not stages(found)["graph"]
    assert found.image == "image.jpg"
