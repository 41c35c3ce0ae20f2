"""What the artifacts of a bundle do on one machine."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.check import CheckReport
from ghost_deploy.report.blocks import At, Block, DocumentView, Line, Section
from ghost_deploy.report.sections.field_table import Field, field_table, notes

_ROWS = (
    Field("artifact", "artifact", "text"),
    Field("runtime", "runtime", "runtime"),
    Field("precision", "precision", "text"),
    Field("verdict", "status", "pill"),
    Field("mean score diff", "parity/tensor/score/mean", "small"),
    Field("matched", "parity/detections", "matched"),
    Field("ms, median", "p50_ms", "ms"),
    Field("time / fastest float", "over_fastest_float/median", "ratio"),
)


def check_section(view: DocumentView, report: CheckReport, where: str = "this machine") -> Section:
    """The verdicts of one document, `view` being of it alone; `where` it ran."""
    places: list[At] = [("rows", index) for index in range(len(report.rows))]
    blocks: list[Block] = [field_table(view, places, _ROWS)]
    tone = "bad" if any(row.status == "failed" for row in report.rows) else ""
    lead = view.line("{images:count} images that the bundle carries, model {model:text}")
    blocks += notes(list(_reasons(view, report)), tone)
    blocks += notes(view.listed("warnings"), "warn")
    return Section("check", (f"Check on {where}",), blocks, lead)


def _reasons(view: DocumentView, report: CheckReport) -> Iterator[Line]:
    for index, row in enumerate(report.rows):
        name = view.line("{artifact:text} on {runtime:text} {status:text}: ", "rows", index)
        if row.status != "verified":
            yield from ((*name, *line) for line in view.listed("rows", index, "reasons"))
