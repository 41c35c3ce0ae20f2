"""From the report to what is shown of it."""

from __future__ import annotations

from ghost_deploy.report.blocks import Report
from ghost_deploy.report.cells import Line, Page
from ghost_deploy.report.sections.accuracy import accuracy
from ghost_deploy.report.sections.evidence import evidence
from ghost_deploy.report.sections.hard_images import images
from ghost_deploy.report.sections.int8 import int8
from ghost_deploy.report.sections.latency import latency
from ghost_deploy.report.sections.origin import files, lineage, machine
from ghost_deploy.report.sections.overview import overview, tiles
from ghost_deploy.report.sections.parity import parity
from ghost_deploy.report.view import View

__all__ = ["make_page"]

_PARTS = (latency, accuracy, images, int8, parity, evidence, machine, lineage, files)


def make_page(report: Report) -> Page:
    """Everything that a page shows, in order; the same for every form of page."""
    view = View(report)
    look = view.look
    first = [overview(view)] if report.rows else []
    return Page(
        title=look.cell("text", "title"),
        subtitle=_subtitle(view),
        tone=report.verdict.tone,
        headline=look.cell("text", "verdict", "headline"),
        reasons=view.listed("verdict", "reasons"),
        tiles=list(tiles(view)),
        sections=[*first, *(section for part in _PARTS for section in part(view))],
        footer=(
            look.cell("text", "created_with"), ", ", look.cell("date", "created_at"),
            " UTC. Every number names its place in the JSON document of this report.",
        ),
    )  # fmt: skip


def _subtitle(view: View) -> Line:
    if not view.report.latency:
        return (view.look.cell("date", "created_at"), " UTC")
    at = ("latency", 0, "snapshot")
    return (
        view.look.cell("text", *at, "machine", "cpu"), ", ",
        view.look.cell("count", *at, "machine", "cpus"), " CPUs, ",
        view.look.cell("date", *at, "measured_at"), " UTC",
    )  # fmt: skip
