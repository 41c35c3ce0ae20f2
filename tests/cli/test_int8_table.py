"""What `calibrate` prints."""

from __future__ import annotations

import io

import msgspec

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.int8_table import print_int8
from ghost_deploy.core.evidence.int8 import CurvePoint, Int8Report, LayerHarm, Sensitivity
from tests.support.int8_reports import report, row

LAYERS = tuple(
    LayerHarm(
        nodes=(f"conv{k}", "other"), share=0.1, noise=1.0, harm=0.9 - 0.1 * k if k < 7 else None
    )
    for k in range(9)
)
RETURNED = msgspec.structs.replace(LAYERS[6], returned=True, gain=0.4, cost_ms=-0.25)
CURVE = (
    CurvePoint(int8_share=0.95, lost=1.4, returned=0),
    CurvePoint(int8_share=0.9, lost=1.6, returned=1),
    CurvePoint(int8_share=0.85, lost=0.48, returned=1, chosen=True),
    CurvePoint(int8_share=0.75, lost=-0.05, returned=2),
)


def printed(found: Int8Report) -> list[str]:
    out = io.StringIO()
    print_int8(found, Console(out, io.StringIO()))
    return out.getvalue().splitlines()


def searched(*, curve: tuple[CurvePoint, ...] = CURVE, problem: str = "") -> Int8Report:
    layers = (*LAYERS[:6], RETURNED, *LAYERS[7:])
    found = Sensitivity(recipe="minmax", layers=layers, curve=curve, problem=problem)
    return msgspec.structs.replace(
        report(row("onnx-int8-ort-x86", 0.48)), sensitivity={"ort-x86": found}
    )


def test_without_a_search_there_is_neither_layer_nor_curve() -> None:
    lines = printed(report(row("onnx-int8-ort-x86", 0.2)))
    assert not any("harmful layers" in line or "allowed |" in line for line in lines)


def test_the_most_harmful_layers_and_each_that_was_returned() -> None:
    lines = printed(searched())
    start = next(i for i, line in enumerate(lines) if line.startswith("harmful layers"))
    table = [line.split() for line in lines[start + 1 : start + 7]]
    assert [each[0] for each in table] == ["conv0", "conv1", "conv2", "conv3", "conv4", "conv6"]
    assert table[0] == ["conv0", "ort-x86", "+0.90", "10.0%", "int8", "-", "-"]
    assert table[5] == ["conv6", "ort-x86", "+0.30", "10.0%", "float", "+0.40", "-0.25"]
    assert lines[start + 7] == ""


def test_the_curve_of_what_is_not_beaten() -> None:
    lines = printed(searched())
    start = next(i for i, line in enumerate(lines) if "points lost" in line)
    assert lines[start].endswith("0 to 1.40 points lost, | 0.5 allowed")
    left = lines[start].index("0 to")
    drawn = [line[left:] for line in lines[start + 1 : start + 4]]
    assert [line[:left].split() for line in lines[start + 1 : start + 4]] == [
        ["95.0%", "ort-x86", "+1.40", "0"],
        ["85.0%", "ort-x86", "+0.48", "1"],
        ["75.0%", "ort-x86", "-0.05", "2"],
    ]
    assert drawn[0] == " " * 11 + "|" + " " * 19 + "o"
    assert drawn[1] == " " * 11 + "*" + "  chosen", "the point hides the bar that it touches"
    assert drawn[2] == "o" + " " * 10 + "|"
    assert lines[start + 4] == ""


def test_a_search_that_did_not_help_says_why() -> None:
    lines = printed(searched(curve=(), problem="too much is lost even in float"))
    assert not any("points lost" in line for line in lines)
    assert any("does not help: too much is lost even in float" in line for line in lines)
