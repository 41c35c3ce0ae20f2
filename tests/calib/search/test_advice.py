"""What a person is told to use."""

from __future__ import annotations

import msgspec
import pytest

from ghost_deploy.calib.search.advice import verdict
from ghost_deploy.core.evidence.int8 import Int8Report
from tests.support.int8_reports import int8_row, small_int8_report, speed_row

BF16 = msgspec.structs.replace(
    speed_row("openvino-fp32", "openvino", 0.9), p50_ms=1.0, precision="bf16"
)
FLOATS = (speed_row("openvino-fp32", "openvino", 1.0), speed_row("onnx-fp32", "ort", 1.4))

CASES = [
    (small_int8_report(), ()),
    (
        small_int8_report(int8_row("onnx-int8-tensorrt", 0.1)),
        ("onnx-int8-tensorrt passed; its speed was not measured",),
    ),
    (
        small_int8_report(int8_row("ncnn-int8", 0.1), int8_row("onnx-int8-ort-x86", 0.1)),
        ("ncnn-int8, onnx-int8-ort-x86 passed; their speed was not measured",),
    ),
    (
        small_int8_report(
            int8_row("openvino-int8", 0.3),
            times=(*FLOATS, speed_row("openvino-int8", "openvino", 0.5)),
        ),
        ("Use openvino-int8 on openvino", "2.00 times as fast", "0.30 points of mAP50-95"),
    ),
    (
        small_int8_report(
            int8_row("openvino-int8", 0.3),
            times=(*FLOATS, BF16, speed_row("openvino-int8", "openvino", 0.5)),
        ),
        ("the fastest float (openvino-fp32 on openvino in bf16)",),
    ),
    (
        small_int8_report(
            int8_row("openvino-int8", 2.5),
            times=(*FLOATS, speed_row("openvino-int8", "openvino", 0.5)),
        ),
        ("Do not use openvino-int8", "2.50 points", "at most 0.5 allowed"),
    ),
    (
        small_int8_report(
            int8_row("onnx-int8-ort-x86", 0.1),
            times=(*FLOATS, speed_row("onnx-int8-o", "ort", 1.2)),
        ),
        ("onnx-int8-ort-x86 passed",),
    ),
    (
        small_int8_report(
            int8_row("onnx-int8-ort-x86", 0.1),
            times=(*FLOATS, speed_row("onnx-int8-ort-x86", "ort", 1.2)),
        ),
        ("Do not use INT8 here", "1.20 times as long as openvino-fp32 on openvino"),
    ),
    (
        small_int8_report(
            int8_row("openvino-int8", 0.1),
            times=(*FLOATS, speed_row("openvino-int8", "openvino", 1.17, low=0.63)),
        ),
        ("was not decided", "0.63 to 1.17 times", "idle"),
    ),
    (
        small_int8_report(
            int8_row("onnx-int8-ort-x86", 0.1),
            int8_row("openvino-int8", -0.2),
            times=(
                *FLOATS,
                speed_row("onnx-int8-ort-x86", "ort", 1.1),
                speed_row("openvino-int8", "openvino", 0.6),
            ),
        ),
        ("Use openvino-int8", "loses nothing (+0.20", "On ort, onnx-int8-ort-x86 takes 1.10"),
    ),
    (
        small_int8_report(
            int8_row("openvino-int8", 0.3),
            times=(*FLOATS, speed_row("openvino-int8", "openvino", 0.5)),
            by="agreement",
        ),
        ("agreement with the float model",),
    ),
]


@pytest.mark.parametrize(("document", "parts"), CASES)
def test_the_verdict_follows_from_accuracy_and_times(
    document: Int8Report, parts: tuple[str, ...]
) -> None:
    said = verdict(document)
    assert [part for part in parts if part not in said] == []
    assert bool(said) == bool(parts)


def test_a_failed_artifact_is_never_recommended() -> None:
    times = (*FLOATS, speed_row("openvino-int8", "openvino", 0.1))
    assert "Use openvino-int8" not in verdict(
        small_int8_report(int8_row("openvino-int8", 5.0), times=times)
    )


def test_the_verdict_says_where_it_holds() -> None:
    times = (*FLOATS, speed_row("onnx-int8-ort-x86", "ort", 1.2))
    rows = (int8_row("onnx-int8-ort-x86", 0.1), int8_row("ncnn-int8", 0.1))
    rows = (rows[0], msgspec.structs.replace(rows[1], form="ncnn"))
    quiet = msgspec.structs.replace(
        small_int8_report(*rows, times=times), machine="a processor", threads=2
    )
    said = verdict(quiet)
    assert "Measured with 2 threads on this machine (a processor)." in said
    assert "ncnn-int8: made for boards" in said
    assert "busy" not in said
    busy = msgspec.structs.replace(quiet, speed_warnings=("the machine was busy",), threads=1)
    said = verdict(busy)
    assert said.index("Do not use INT8 here") < said.index("Measured on a busy machine")
    assert "1 thread on" in said
