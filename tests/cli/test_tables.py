"""Documents on the terminal: the blocks of the report, the same as on the page."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.tables import (
    print_accuracy,
    print_builds,
    print_int8,
    print_latency,
    print_parity,
)
from ghost_deploy.core.evidence.build import (
    BuildRecord,
    BuildRecords,
    DlaLayer,
    DlaReport,
    Fingerprint,
)
from ghost_deploy.core.evidence.int8 import CurvePoint, Int8Report, LayerHarm, Sensitivity
from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.html import render_html
from ghost_deploy.report.material import Material
from tests.support.int8_reports import int8_row, small_int8_report
from tests.support.page_tracing import Node, faults, parse
from tests.support.report_documents import (
    HOSTILE,
    NOW,
    USUAL,
    Run,
    accuracy_report,
    bench_report,
    bundle_facts,
    parity_report,
)
from tests.support.report_int8_documents import int8_document
from tests.support.stored_evidence import as_json

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
        small_int8_report(int8_row("onnx-int8-ort-x86", 0.48)), sensitivity={"ort-x86": found}
    )


def test_without_a_search_there_is_neither_layer_nor_curve() -> None:
    lines = printed(small_int8_report(int8_row("onnx-int8-ort-x86", 0.2)))
    assert not any("harmful layers" in line or "allowed" in line for line in lines)


def test_the_most_harmful_layers_and_each_that_was_returned() -> None:
    lines = printed(searched())
    start = next(i for i, line in enumerate(lines) if line.startswith("harmful layers"))
    table = [line.split() for line in lines[start + 1 : start + 7]]
    assert [each[0] for each in table] == ["conv0", "conv1", "conv2", "conv3", "conv4", "conv6"]
    assert table[0] == ["conv0", "no", "0.90", "10.0", "%", "-", "-"]
    assert table[5] == ["conv6", "yes", "0.30", "10.0", "%", "0.40", "-0.25"]
    assert lines[start + 7] == ""


def test_the_curve_of_the_choices() -> None:
    lines = printed(searched())
    start = next(i for i, line in enumerate(lines) if "points lost," in line)
    assert lines[start].endswith("0 to 1.60 points lost, | 0.5 allowed")
    left = lines[start].index("0 to")
    drawn = [line[left:] for line in lines[start + 1 : start + 5]]
    assert [line[:left].split() for line in lines[start + 1 : start + 5]] == [
        ["95.0", "%", "1.40", "0", "no"],
        ["90.0", "%", "1.60", "1", "no"],
        ["85.0", "%", "0.48", "1", "yes"],
        ["75.0", "%", "-0.05", "2", "no"],
    ]
    assert drawn[0] == " " * 10 + "|" + " " * 16 + "o"
    assert drawn[1] == " " * 10 + "|" + " " * 20 + ".", "another choice beats it"
    assert drawn[2] == " " * 9 + "*|"
    assert drawn[3] == "o" + " " * 9 + "|"
    assert lines[start + 5] == ""


def test_a_search_that_did_not_help_says_why() -> None:
    lines = printed(searched(curve=(), problem="too much is lost even in float"))
    assert not any("points lost" in line for line in lines)
    assert any("float does not help: too much is lost even in float" in line for line in lines)


BUILDS = BuildRecords(
    engines={
        f"tensorrt-{precision}": BuildRecord(
            route="weakly typed",
            built_from="onnx-fp32",
            fingerprint=Fingerprint(
                tensorrt="10.3.0", cuda="12.6", compute_capability="8.7", gpu="Orin",
                platform="linux-aarch64", dla=0,
            ),
            workspace_mib=1024,
            precisions={"fp16": 61, "fp32": 4},
            reformats=7,
            pinned=4,
            dla=DlaReport(
                core=0, layers=65, switches=2, fallbacks=(DlaLayer("up", "Resize"),)
            ),
            timing_cache="new",
            notes=(f"a note {HOSTILE}",),
        )
        for precision in ("fp16", "fp32")
    }
)  # fmt: skip
RUNS = (*USUAL, Run("trt", "fp16", ms=3.0, parity="failed", batch=4, power=True))
DOCUMENTS: dict[str, tuple[Any, Callable[[Any, Console], None]]] = {
    "parity": (parity_report(RUNS), print_parity),
    "accuracy": (accuracy_report(RUNS), print_accuracy),
    "latency": (bench_report(RUNS), print_latency),
    "int8": (Int8Report.from_document(int8_document()), print_int8),
    "build": (BUILDS, print_builds),
}


def printed_by(print_it: Callable[[Any, Console], None], document: Any) -> str:
    out = io.StringIO()
    print_it(document, Console(out, io.StringIO()))
    return out.getvalue()


def page_of(kind: str, document: Any) -> Node:
    """The page of a report on that document alone."""
    found = Material()
    if kind in ("parity", "accuracy", "latency"):
        found.add(document, kind)
    else:
        facts = bundle_facts(RUNS)
        kept = as_json({kind: document.to_document()})
        facts = msgspec.structs.replace(
            facts, document=msgspec.structs.replace(facts.document, evidence=kept)
        )
        found.bundles = [facts]
    made = assemble(found, now=NOW)
    page = render_html(made)
    assert faults(page, json.loads(msgspec.json.encode(made))) == []
    return parse(page)


Rows = list[list[str]]
"""Titles and body of a table."""


def on_the_page(page: Node, anchor: str) -> list[Rows]:
    """The tables of the sections whose anchors begin so, those that are for pages left out."""
    sections = [n for n in page.walk() if n.attributes.get("id", "").startswith(anchor)]
    tables = [n for each in sections for n in each.walk() if n.tag == "table"]
    return [
        [
            [" ".join(cell.text().split()) for cell in row.walk() if cell.tag in ("th", "td")]
            for row in table.walk()
            if row.tag == "tr"
        ]
        for table in tables
        if "harm less" not in "".join(n.text() for n in table.up() if n.tag == "details")
    ]


def on_the_terminal(printed: str) -> list[Rows]:
    """Blocks of lines with several columns, which stand at least two blanks apart."""
    blocks = [block.splitlines() for block in printed.split("\n\n")]
    split = [[re.split(" {2,}", line.strip()) for line in block] for block in blocks]
    without_captions = [[row for row in block if len(row) > 2] for block in split]
    return [block for block in without_captions if len(block) > 1]


def shown(rows: Rows, titles: list[str]) -> Rows:
    """The columns with these titles."""
    kept = [i for i, title in enumerate(rows[0]) if title in titles]
    return [[row[i] for i in kept] for row in rows]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_page_and_terminal_show_the_same_tables(kind: str) -> None:
    document, print_it = DOCUMENTS[kind]
    whole = page_of(kind, document)
    page = [*on_the_page(whole, kind), *on_the_page(whole, MORE.get(kind, " "))]
    terminal = on_the_terminal(printed_by(print_it, document))
    assert len(page) == len(terminal) > 0
    for ours, theirs in zip(page, terminal, strict=True):
        common = [title for title in ours[0] if title in theirs[0]]
        assert len(common) >= 2
        assert set(ours[0]) - set(common) <= ONLY_PAGE
        assert all("harmful" in t or "points lost," in t for t in theirs[0] if t not in common)
        assert shown(ours, common) == shown(theirs, common)


MORE = {"accuracy": "thresholds"}
"""Documents that another section shows too."""

ONLY_PAGE = {"least IoU", "gate of matched", "gate of score diff", "samples", "points", "noise, %",
             "precision", "layers"}  # fmt: skip


def test_a_column_of_one_medium_is_not_on_the_other() -> None:
    document, print_it = DOCUMENTS["parity"]
    head = on_the_page(page_of("parity", document), "parity")[0][0]
    out = printed_by(print_it, document)
    assert "least IoU" in head
    assert "least IoU" not in out
    assert "0 to 1.40 points lost" not in page_of("int8", DOCUMENTS["int8"][0]).text()


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_terminal_needs_no_page_templates(kind: str) -> None:
    code = f"""
import sys
sys.modules["jinja2"] = None
from tests.cli.test_tables import DOCUMENTS, printed_by
for name in [name for name in sys.modules if name.startswith("ghost_deploy.report")]:
    del sys.modules[name]
document, print_it = DOCUMENTS[{kind!r}]
assert printed_by(print_it, document)
assert not [m for m in ("html", "page", "write") if f"ghost_deploy.report.{{m}}" in sys.modules]
"""
    subprocess.run([sys.executable, "-c", code], check=True)
