"""What a bundle did on boards: a section of the report, each cell traced to its place."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import msgspec
import pytest

from ghost_deploy.core.evidence.boards import BoardFacts, BoardRecord, BoardsReport
from ghost_deploy.core.evidence.check import CheckReport, CheckRow
from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.blocks import Section, Table, plain
from ghost_deploy.report.html import render_html
from ghost_deploy.report.markdown import render_markdown
from ghost_deploy.report.page import make_page
from ghost_deploy.report.report_document import Report
from tests.support.page_tracing import faults
from tests.support.report_documents import (
    HOSTILE,
    NAMES,
    NOW,
    USUAL,
    Run,
    accuracy_report,
    bench_report,
    material,
)
from tests.support.stored_evidence import as_json

PI = BoardFacts(
    name="pi5:2222",
    asked_at="2026-01-02T03:04:05+00:00",
    model=f"Raspberry Pi 5 {HOSTILE}",
    processor="Cortex-A76",
    architecture="aarch64",
    temperature_c=61.25,
)
ORIN = BoardFacts(name="orin", asked_at="2026-01-03T03:04:05+00:00", power_mode="MAXN")
SNAPSHOT = bench_report(USUAL[:1]).snapshot


def checked(*rows: CheckRow) -> CheckReport:
    return CheckReport(model="ghost", images=3, rows=rows, machine=SNAPSHOT)


def row(run: Run, status: Any = "verified", **given: Any) -> CheckRow:
    return CheckRow(
        artifact=run.artifact,
        sha256=run.sha256,
        runtime=run.runtime,
        precision=run.precision,
        status=status,
        **given,
    )


FULL = BoardRecord(
    board=PI,
    check=checked(row(USUAL[0], p50_ms=17.125), row(USUAL[1], "failed", reasons=("wrong by 7",))),
    latency=bench_report(USUAL).only(["ghost"]),
    accuracy=accuracy_report(USUAL, NAMES, 0).thin(),
)
ONE = BoardRecord(board=ORIN, check=checked(row(USUAL[0], p50_ms=3.25)))


def report(*records: BoardRecord) -> Report:
    found = material()
    facts = found.bundles[0]
    stored = as_json({"boards": BoardsReport(boards=records).to_document()})
    document = msgspec.structs.replace(
        facts.document, evidence={**facts.document.evidence, **stored}
    )
    found.bundles[0] = msgspec.structs.replace(facts, document=document)
    return assemble(found, now=NOW)


def section(made: Report) -> Section | None:
    sections = make_page(made).sections
    assert not [each for each in sections if plain(each.title) == "Evidence: boards"]
    return next((each for each in sections if each.anchor == "boards"), None)


def tables(*records: BoardRecord) -> list[list[dict[str, str]]]:
    """The rows of each table, by the titles of the columns."""
    found = section(report(*records))
    assert found is not None
    return [
        [
            dict(zip(map(plain, (c.title for c in block.columns)), map(plain, line), strict=True))
            for line in block.rows
        ]
        for block in found.blocks
        if isinstance(block, Table)
    ]


def test_boards_and_what_ran_on_them() -> None:
    facts, runs = tables(FULL, ONE)
    assert [each["board"] for each in facts] == ["pi5:2222", "orin"]
    assert facts[0]["temperature"] == "61.2 °C"
    assert facts[0]["processor"] == "Cortex-A76"
    assert (facts[0]["power mode"], facts[1]["power mode"]) == ("-", "MAXN")
    assert "governors" not in facts[0]
    assert len([each for each in runs if each["board"] == "pi5:2222"]) == len(USUAL)
    first, last = runs[0], runs[-1]
    assert (first["check"], first["accuracy"]) == ("verified", "passed")
    assert FULL.latency is not None
    figures = FULL.latency.rows[0].figures
    assert figures is not None
    assert first["model alone, p50 ms"] == f"{figures.stages['run_alone'].p50:.2f}"
    assert first["file to detections, p50 ms"] == f"{figures.stages['end_to_end'].p50:.2f}"
    assert runs[1]["check"] == "failed"
    assert (last["board"], last["model alone, p50 ms"]) == ("orin", "3.25")
    assert last["mAP50-95"] == "-"


def test_columns_that_nothing_has_are_left_out() -> None:
    facts, runs = tables(ONE)
    assert list(facts[0]) == ["board", "power mode", "last command, UTC"]
    assert list(runs[0]) == [
        "board", "artifact", "runtime", "precision", "check", "model alone, p50 ms",
    ]  # fmt: skip


def test_what_was_timed_in_several_ways_is_a_line_each() -> None:
    timed = bench_report((USUAL[0], dataclasses.replace(USUAL[0], batch=4)))
    (_, runs) = tables(BoardRecord(board=ORIN, latency=timed.only(["ghost"])))
    assert [each["batch"] for each in runs] == ["1", "4"]


@pytest.mark.parametrize("records", [(FULL, ONE), (ONE,), (BoardRecord(board=PI),)])
def test_each_cell_is_in_the_document(records: tuple[BoardRecord, ...]) -> None:
    made = report(*records)
    page = render_html(made)
    assert faults(page, json.loads(msgspec.json.encode(made))) == []
    assert "Boards</h2>" in page
    assert HOSTILE not in page
    text = render_markdown(made)
    assert "## Boards" in text
    assert HOSTILE not in text


def test_failures_are_told() -> None:
    text = render_markdown(report(FULL))
    assert f"> - pi5:2222: {USUAL[1].artifact}, check failed: wrong by 7" in text


def test_a_report_without_any_run_is_no_verdict() -> None:
    assert BoardRecord(board=PI, check=checked()).kinds == ""
    assert BoardRecord(board=PI, check=checked(row(USUAL[0], "skipped"))).kinds == ""
    assert FULL.kinds == "check failed, latency, accuracy failed"


def test_no_boards_no_section() -> None:
    assert section(report()) is None
