"""Evidence of calibration: its verdict counts, and it is shown; what is not known is listed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from ghost_deploy.report.html import render_html
from ghost_deploy.report.markdown import render_markdown
from ghost_deploy.report.report_document import Report
from tests.support.page_tracing import Node, faults, parse
from tests.support.report_documents import HOSTILE, Run
from tests.support.report_int8_documents import CURVE, HARMS, int8_document, report_with_int8


def test_it_is_shown_and_traced() -> None:
    made = report_with_int8(int8_document())
    page = render_html(made)
    assert faults(page, json.loads(msgspec.json.encode(made))) == []
    for words in ("Calibration to", "4.500 G", "98.5 %", "Recipes tried", "points lost"):
        assert words in page, words
    assert "Evidence: " not in page
    assert HOSTILE not in page


@pytest.mark.parametrize(
    ("status", "standing"), [("passed", "passes"), ("failed", "fails"), ("unjudged", "unproved")]
)
def test_its_verdict_is_that_of_the_row(status: str, standing: str) -> None:
    made = report_with_int8(int8_document(status))
    assert made.rows[0].standing == standing
    if status == "failed":
        assert made.rows[0].reasons == (
            "int8: lost 0.32 points against float, at most 0.5 allowed",
            "replace it: ghost-deploy calibrate BUNDLE --calib IMAGES --overwrite",
        )


def test_int8_is_recommended_on_the_strength_of_it() -> None:
    made = report_with_int8(int8_document(), Run("openvino", "fp32", ms=12.0))
    assert made.verdict.headline.startswith("Use OpenVINO INT8 here")
    assert "lost 0.32 points against float" in made.verdict.headline


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"rows": 3},
        {"rows": [{"artifact": "x"}]},
        {"judged": {}},
        {"sensitivity": []},
        {"speed": [3]},
        {"calibration": None},
    ],
)
def test_another_form_is_listed_as_it_stands(change: dict[str, Any]) -> None:
    made = report_with_int8({**int8_document(), **change})
    page = render_html(made)
    assert faults(page, json.loads(msgspec.json.encode(made))) == []
    assert "Evidence: " in page
    assert "Calibration to" not in page


def traced(made: Report) -> Node:
    """The page, after every number of it was held against the document."""
    page = render_html(made)
    assert faults(page, json.loads(msgspec.json.encode(made))) == []
    assert HOSTILE not in page
    return parse(page)


def section(root: Node, anchor: str) -> Node:
    return next(n for n in root.walk() if n.attributes.get("id") == anchor)


def texts(node: Node, tag: str) -> list[str]:
    return [each.text().strip() for each in node.walk() if each.tag == tag]


def test_each_form_whose_layers_were_searched_has_a_section() -> None:
    root = traced(report_with_int8(int8_document()))
    first, second = (section(root, f"int8-layers-{k}") for k in (1, 2))
    assert texts(first, "h2") == ["Accuracy against share of int8: openvino"]
    assert "even with every layer float: 0.71 points" in second.text()
    assert "svg" not in {node.tag for node in second.walk()}, "nothing was measured to be drawn"


def test_the_curve_shows_every_choice_the_bar_and_what_was_chosen() -> None:
    root = section(traced(report_with_int8(int8_document())), "int8-layers-1")
    for width in ("only-wide", "only-narrow"):
        chart = next(n for n in root.walk() if width in n.classes)
        marks = [n for n in chart.walk() if "mark" in n.classes]
        assert len(marks) == len(CURVE)
        assert sum("hollow" in n.classes for n in marks) == 1
        (halo,) = (n for n in chart.walk() if "halo" in n.classes)
        (ringed,) = (
            n.attributes["data-x"]
            for n in marks
            if (n.attributes["cx"], n.attributes["cy"])
            == (halo.attributes["cx"], halo.attributes["cy"])
        )
        assert ringed.endswith("/curve/3/int8_share")
        (bar,) = (n for n in chart.walk() if n.tag == "line" and "gate" in n.classes)
        assert bar.attributes["data-y"].endswith("/rows/0/max_drop")
        assert "may be lost: 0.5" in chart.text()


def test_the_layers_with_what_they_harm_and_what_their_return_gains_and_costs() -> None:
    root = section(traced(report_with_int8(int8_document())), "int8-layers-1")
    shown, folded, choices = (n for n in root.walk() if n.tag == "table")
    cells = texts(shown, "td")
    assert cells[:6] == ["yes", "0.91", "3", "12.0 %", "0.82", "0.20"]
    assert cells[12:18] == ["yes", "0.22", "1", "4.0 %", "0.12", "0.00"]
    assert len(texts(shown, "tr")) == 1 + 5
    assert len(texts(folded, "tr")) == 1 + len(HARMS) - 5
    assert len(texts(choices, "tr")) == 1 + len(CURVE)
    assert "0.91" in render_markdown(report_with_int8(int8_document()))


def test_what_was_not_measured_is_not_shown() -> None:
    document = int8_document()
    found = document["sensitivity"]["openvino"]
    for layer in found["layers"]:
        layer["cost_ms"] = None
    root = section(traced(report_with_int8(document)), "int8-layers-1")
    assert "return costs" not in root.text()
    assert "costs in time was not measured here" in root.text()
    # A document of before these were recorded.
    for layer in found["layers"]:
        del layer["gain"]
    for point in found["curve"]:
        del point["chosen"]
    root = section(traced(report_with_int8(document)), "int8-layers-1")
    assert "halo" not in {name for node in root.walk() for name in node.classes}
    assert "return gains" not in root.text()


def test_a_curve_without_an_artifact_has_no_bar() -> None:
    document = int8_document()
    document["sensitivity"] = {"ort-x86": document["sensitivity"]["openvino"]}
    root = section(traced(report_with_int8(document)), "int8-layers-1")
    assert "gate" not in {name for node in root.walk() for name in node.classes}


@pytest.mark.parametrize("curve", [[{}], [3], [{"int8_share": "x", "lost": 1.0}]])
def test_a_curve_of_another_form_is_listed_as_it_stands(curve: Any) -> None:
    document = int8_document()
    document["sensitivity"]["openvino"]["curve"] = curve
    assert "Evidence: " in traced(report_with_int8(document)).text()
