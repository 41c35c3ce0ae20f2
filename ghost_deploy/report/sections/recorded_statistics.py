"""Whether the network computes what the batch norms of the checkpoint recorded in training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ghost_deploy.core.evidence.statistics_report import StatisticsReport
from ghost_deploy.report.blocks import At, Block, DocumentView, Drawing, Line, Section
from ghost_deploy.report.charts.norm_deviations import NormPoint, norm_deviations
from ghost_deploy.report.charts.style import swatches
from ghost_deploy.report.sections.field_table import Field, field_table, notes, numbered
from ghost_deploy.report.view import ReportView

_CHOICES = (
    Field("class in the file", "class_path", "text"),
    Field("modules", "modules", "count"),
    Field("read as", "used", "text"),
    Field("decided by", "decided_by", "text"),
    Field("margin", "margin", "margin"),
    Field("fits too", "others", "list", "page"),
)
_NORMS = (
    Field("batch norm", "name", "text"),
    Field("of", "definition", "text"),
    Field("mean", "mean", "ratio"),
    Field("sd", "sd", "ratio"),
    Field("limit", "limit", "ratio"),
)
_TONES = {"agrees": "", "disagrees": "bad", "not judged": "warn"}
_NOTE = (
    "Circles: the mean, squares: the log sd, each the median over the channels. Above the line a "
    "norm is outside the band; hollow ones are not judged."
)
_LEGEND = (("c1", "mean"), ("c2", "log sd"))


def statistics(view: ReportView) -> Iterator[Section]:
    """A section for each bundle with this evidence."""
    for index, bundle in enumerate(view.report.bundles):
        found = bundle.read(StatisticsReport)
        if found:
            at: At = ("bundles", index, "document", "evidence", StatisticsReport.KIND)
            yield statistics_section(view, found, at, numbered("statistics", index))


def statistics_section(
    view: DocumentView, report: StatisticsReport, at: At = (), name: str = "statistics"
) -> Section:
    """Show recorded statistics.

    Args:
        view: has the document.
        report: the same as values of its types.
        at: its place in the view.
        name: anchor of the section.
    """
    title = ("Recorded statistics of the checkpoint",)
    return Section(name, title, list(_blocks(view, report, at)))


def _blocks(view: DocumentView, report: StatisticsReport, at: At) -> Iterator[Block]:
    seen = "{verdict:text}: {sentence:text}"
    if report.images:
        seen += " {images:count} images at {view:text}, {seconds:seconds}."
    yield from notes([view.line(seen, *at)], _TONES[report.verdict])
    if report.norms:
        yield Drawing(
            ("Deviation by layer",), partial(_draw, view, report, at), (_NOTE,), swatches(_LEGEND)
        )
        norms = [(*at, "norms", place) for place in range(len(report.norms))]
        yield field_table(view, norms, _NORMS, folded="All batch norms", only="page")
    if report.choices:
        choices = [(*at, "choices", place) for place in range(len(report.choices))]
        caption = "Classes whose parts fit several definitions"
        yield field_table(view, choices, _CHOICES, caption=caption)
    if report.norms and report.unseen:
        unseen: list[Line] = [view.line("{unseen:text}", *at)]
        yield from notes(unseen, only="page")


def _draw(view: DocumentView, report: StatisticsReport, at: At) -> str:
    points = []
    for place, row in enumerate(report.norms):
        here = (*at, "norms", place)
        points.append(
            NormPoint(
                name=view.cell("text", *here, "name"),
                mean=view.cell("ratio", *here, "mean"),
                mean_value=row.mean,
                sd=view.cell("ratio", *here, "sd"),
                sd_value=row.sd,
                limit=row.limit,
            )
        )
    return norm_deviations(points)
