"""Result of calibration: accuracy, share of int8, times, and the recipes that were tried."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.int8 import Int8Report
from ghost_deploy.report.blocks import At, Block, Cell, DocumentView, FactList, Line, Notes, Section
from ghost_deploy.report.sections.field_table import Field, field_table, notes, numbered
from ghost_deploy.report.sections.int8_layers import layers
from ghost_deploy.report.view import ReportView

_ROWS = (
    Field("artifact", "artifact", "text"),
    Field("judged on", "judged_on", "runtime"),
    Field("verdict", "status", "pill"),
    Field("points", "points", "rate2", "page"),
    Field("lost", "drop", "rate2"),
    Field("from", "drop_low", "rate2", "page"),
    Field("to", "drop_high", "rate2", "page"),
    Field("at most", "max_drop", "plain"),
    Field("images", "images", "count", "page"),
    Field("planned in int8", "planned_share", "share"),
    Field("run in int8", "executed", "int8 share"),
    Field("recipe", "recipe", "text"),
)
_TRIALS = (
    Field("tried for", "form", "text"),
    Field("recipe", "recipe", "text"),
    Field("points", "points", "rate2"),
    Field("time, of the first", "time", "ratio"),
    Field("run in int8", "int8_share", "share"),
    Field("chosen", "chosen", "any"),
    Field("problem", "problem", "text"),
)
_SPEED = (
    Field("artifact", "artifact", "text"),
    Field("runtime", "runtime", "runtime"),
    Field("precision", "precision", "text"),
    Field("p50 ms", "p50_ms", "ms"),
    Field("time / fastest float", "over_fastest_float", "ratio"),
    Field("quartiles from", "low", "ratio"),
    Field("to", "high", "ratio"),
    Field("time / fp32 of the runtime", "over_fp32", "ratio"),
)


def int8(view: ReportView) -> Iterator[Section]:
    """Sections for each bundle with int8 evidence."""
    for index, bundle in enumerate(view.report.bundles):
        if bundle.int8:
            at: At = ("bundles", index, "document", "evidence", Int8Report.KIND)
            yield from int8_sections(view, bundle.int8, at, numbered("int8", index))


def int8_sections(
    view: DocumentView, report: Int8Report, at: At = (), name: str = "int8"
) -> Iterator[Section]:
    """Show the result of a calibration.

    Args:
        view: has the document.
        report: the same as values of its types.
        at: its place in the view.
        name: anchor of the first section.

    Returns:
        One section, and one more for each form whose layers were searched.
    """
    yield Section(name, ("Calibration to int8",), list(_blocks(view, at, report)))
    yield from layers(view, at, report, name)


def _blocks(view: DocumentView, at: At, report: Int8Report) -> Iterator[Block]:
    rows = _places(at, "rows", len(report.rows))
    if report.verdict:
        yield Notes([(view.cell("text", *at, "verdict"),)], only="page")
    yield field_table(view, rows, _ROWS)
    yield from notes([
        (*view.line("{artifact:text}: ", *row), *line)
        for row in rows
        for line in view.listed(*row, "notes")
    ])  # fmt: skip
    yield from notes(view.listed(*at, "calibration", "notes"))
    if report.speed:
        speed = _places(at, "speed", len(report.speed))
        yield field_table(view, speed, _SPEED, caption="Times of the model alone")
        yield from notes(view.listed(*at, "speed_warnings"), "warn")
    if report.trials:
        places = _places(at, "trials", len(report.trials))
        more = len(report.trials) > len(report.rows)
        yield field_table(
            view, places, _TRIALS, folded="Recipes tried", only=None if more else "page"
        )
    yield FactList([
        *_judged(view, at), *_calibration(view, at, report), *_kept(view, at, report),
        *_effort(view, at, report),
    ])  # fmt: skip


def _places(at: At, key: str, count: int) -> list[At]:
    return [(*at, key, i) for i in range(count)]


def _judged(view: DocumentView, at: At) -> list[tuple[str, Line]]:
    by = "{by:text} on {data:text}: {images:count} images, {objects:count} objects"
    lines = {"judged by": by, "protocol": "{protocol:text}",
             "float model": "{reference:rate2} points"}  # fmt: skip
    return [(name, view.line(text, *at, "judged")) for name, text in lines.items()]


def _calibration(view: DocumentView, at: At, report: Int8Report) -> Iterator[tuple[str, Line]]:
    used: At = (*at, "calibration")
    sources = "{images:count} images, fingerprint {fingerprint:hash}, seed {seed:plain}"
    yield "ranges from", view.line(sources, *used)
    if report.calibration.skipped:
        yield "not usable", view.line("{skipped:length} images: {skipped:few}", *used)
    if report.calibration.duplicates:
        yield "duplicates", view.line("{duplicates:count} images left out", *used)


def _effort(view: DocumentView, at: At, report: Int8Report) -> Iterator[tuple[str, Line]]:
    """Time and memory that the calibration took."""
    if report.seconds is not None:
        yield "took", view.line("{seconds:seconds}", *at)
    if report.peak_mib is not None:
        yield "peak memory", view.line("{peak_mib:rate} MiB", *at)


def _kept(view: DocumentView, at: At, report: Int8Report) -> Iterator[tuple[Cell, Line]]:
    """What ran in int8, and what was returned to float."""
    for i, row in enumerate(report.rows):
        place: At = (*at, "rows", i)
        name = view.cell("text", *place, "artifact")
        if row.executed:
            done = "{int8_macs:giga} of {macs:giga} multiply-adds in integers, on {runtime:runtime}"
            yield name, view.line(done, *place, "executed")
        if row.kept_float:
            yield name, view.line("{kept_float:length} convolutions stay float", *place)
