"""How values are written."""

from __future__ import annotations

from typing import Any

import pytest

from ghost_deploy.report.blocks import DocumentView, pointer
from ghost_deploy.report.number_format import ABSENT, FORMS, points, visible, write


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_written_as_absent(form: str) -> None:
    assert write(None, form) == ABSENT


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        ("text", "a b", "a b"),
        ("text", "", ABSENT),
        ("text", "a\nb\u202e", "a\ufffdb\ufffd"),
        ("list", [], ABSENT),
        ("list", ["a", 1], "a, 1"),
        ("runtime", "ort", "ONNX Runtime"),
        ("runtime", "own\x00", "own\ufffd"),
        ("upper", "fp16", "FP16"),
        ("hash", "0123456789abcdef", "0123456789ab"),
        ("date", "2026-01-02T03:04:05+00:00", "2026-01-02 03:04"),
        ("count", 1234567, "1,234,567"),
        ("plain", 0.1, "0.1"),
        ("small", 0.002345, "0.0023"),
        ("ms", 12.345678, "12.35"),
        ("ms", -0.0012, "0.00"),
        ("rate2", -0.5, "-0.50"),
        ("map", 0.61234, "0.6123"),
        ("share", 0.0312, "3.1 %"),
        ("percent", 0.95, "95 %"),
        ("mib", 3 * 2**20, "3.0 MiB"),
        ("millijoules", 0.075, "75.0 mJ"),
        ("margin", 4.849, "4.85"),
        ("margin", 0.0, ABSENT),
        ("seconds", 64.916, "64.9 s"),
        ("seconds", 10.0, "10 s"),
        ("any", True, "yes"),
        ("any", 1234, "1,234"),
        ("any", 0.12345678, "0.123457"),
        ("any", "x", "x"),
    ],
)
def test_forms(form: str, value: Any, text: str) -> None:
    assert write(value, form) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (-0.004, "0.00"), (0.004, "0.00"), (-0.3, "-0.30"), (1, "+1.00")],
)
def test_points_have_a_sign_unless_they_are_nothing(value: float, text: str) -> None:
    assert points(value) == text


def test_visible_keeps_other_scripts() -> None:
    assert visible("Blutkörperchen 血") == "Blutkörperchen 血"


def test_pointers() -> None:
    assert pointer() == ""
    assert pointer("a/b", "c~d", 0) == "/a~1b/c~0d/0"
    cell = DocumentView({"a/b": [1.5]}).cell("ms", "a/b", 0)
    assert (cell.text, cell.at, cell.form) == ("1.50", "/a~1b/0", "ms")
