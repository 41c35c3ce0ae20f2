"""The content of a page, the same for HTML and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.report.blocks import Cell, Line, Section, shown_on
from ghost_deploy.report.report_document import Report, Tone
from ghost_deploy.report.sections.accuracy import accuracy
from ghost_deploy.report.sections.board_evidence import boards
from ghost_deploy.report.sections.build import build
from ghost_deploy.report.sections.evidence import evidence
from ghost_deploy.report.sections.fork_code import fork_code
from ghost_deploy.report.sections.int8 import int8
from ghost_deploy.report.sections.latency import latency
from ghost_deploy.report.sections.origin import files, lineage, machine
from ghost_deploy.report.sections.overview import Tile, overview, tiles
from ghost_deploy.report.sections.parity import parity
from ghost_deploy.report.sections.recorded_statistics import statistics
from ghost_deploy.report.sections.score_thresholds import thresholds
from ghost_deploy.report.sections.worst_images import images
from ghost_deploy.report.view import ReportView

_PARTS = (
    overview, latency, accuracy, boards, thresholds, images, int8, parity, statistics, fork_code,
    build, evidence, machine, lineage, files,
)  # fmt: skip


@dataclass(frozen=True)
class Page:
    """The content of a page; `tone` is that of the verdict."""

    title: Cell
    subtitle: Line
    tone: Tone
    headline: Cell
    reasons: Sequence[Line]
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    footer: Line


def make_page(report: Report) -> Page:
    """Choose and order the content of the page of a report."""
    view = ReportView(report)
    return Page(
        title=view.cell("text", "title"),
        subtitle=_subtitle(view),
        tone=report.verdict.tone,
        headline=view.cell("text", "verdict", "headline"),
        reasons=view.listed("verdict", "reasons"),
        tiles=list(tiles(view)),
        sections=[shown_on("page", section) for part in _PARTS for section in part(view)],
        footer=view.line(
            "{created_with:text}, {created_at:date} UTC. Every number names its place in the JSON "
            "document of this report."
        ),
    )


def _subtitle(view: ReportView) -> Line:
    if not view.report.latency:
        return view.line("{created_at:date} UTC")
    machine = "{machine/cpu:text}, {machine/cpus:count} CPUs, {measured_at:date} UTC"
    return view.line(machine, "latency", 0, "snapshot")
