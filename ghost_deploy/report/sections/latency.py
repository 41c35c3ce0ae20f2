"""Times of each run: distributions, stages, ratios, resources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from ghost_deploy.report.blocks import (
    At,
    Block,
    Cell,
    Drawing,
    FactList,
    Line,
    Section,
    Table,
    TableColumn,
)
from ghost_deploy.report.charts.latency_bars import Distribution, Stack, distributions, stacks
from ghost_deploy.report.charts.style import swatches
from ghost_deploy.report.sections.field_table import Field, field_table, notes, numbered
from ghost_deploy.report.view import ReportView, RowView

_STAGES = ("decode", "pre", "run", "post")
_MARKS = ("p50", "p90", "p99")
_TIMED = {"end_to_end": ("file to detections", "throughput"),
          "run_alone": ("model alone", "run_throughput")}  # fmt: skip
_TIMES = ("run", "timed", "p50 ms", "p90 ms", "p99 ms", "max ms", "images/s", "samples")
_MEDIANS = (
    *(Field(f"{name} ms", f"stages/{name}/p50", "ms") for name in _STAGES),
    Field("first run ms", "first_run_ms", "rate"),
    Field("load ms", "load_ms", "ms0"),
)
_USED = (
    Field("artifact", "artifact", "text"),
    Field("CPU cores", "figures/cpu_cores", "ratio"),
    Field("peak memory", "figures/peak_bytes", "mib"),
    Field("before load", "figures/start_bytes", "mib"),
    Field("drift", "figures/spread", "share"),
)
_POWER = (
    Field("power", "watts", "watts"),
    Field("energy an image", "joules_per_image", "millijoules"),
    Field("GPU load", "gpu_load", "load"),
    Field("hottest", "temperature_c", "celsius"),
    Field("samples", "samples", "count"),
)
_RATIOS = (
    ("model alone", "run"),
    ("file to detections", "end_to_end"),
    ("images/s", "throughput"),
)


def latency(view: ReportView) -> Iterator[Section]:
    """A section for each latency document."""
    for index in range(len(view.report.latency)):
        rows = [row for row in view.timed() if row.at("latency")[1] == index]
        at: At = ("latency", index)
        lead = view.line(
            "Measured on {images/count:count} images ({images/source:text}), "
            "{settings/duration_s:seconds} a candidate in {settings/rounds:count} rounds, on "
            "{snapshot/machine/cpu:text} with {snapshot/machine/cpus:count} CPUs.",
            *at,
        )
        blocks: list[Block] = [*notes(view.listed(*at, "warnings"), "warn")]
        blocks += _tables(view, rows) if rows else ()
        blocks += _method(view, index)
        yield Section(numbered("latency", index), ("Latency",), blocks, lead)


def _tables(view: ReportView, rows: Sequence[RowView]) -> Iterator[Block]:
    names = [_name(row) for row in rows]
    figures: list[At] = [(*row.at("latency"), "figures") for row in rows]
    yield _distributions(rows)
    yield from _stage_bars(rows)
    yield _times(view, rows, names)
    folded = "Stages in figures"
    yield field_table(view, figures, _MEDIANS, names=names, caption="Medians", folded=folded)
    places = [row.at("latency") for row in rows]
    yield field_table(view, places, _USED, names=names, folded="Resources")
    powered = [i for i, row in enumerate(rows) if row.figures.power]
    if powered:
        at = [(*figures[i], "power") for i in powered]
        yield field_table(view, at, _POWER, names=[names[i] for i in powered])
    yield from _comparisons(view, rows)


def _name(row: RowView) -> Line:
    failed = row.latency is not None and row.latency.failed_verdicts
    return (row.label, " (failed)") if failed else (row.label,)


def _distributions(rows: Sequence[RowView]) -> Drawing:
    drawn = [_distribution(row) for row in rows]
    kept = all(each.samples for each in drawn)
    note = (
        "The height says how many of the raw samples took that long; lines mark p50, p90 and p99."
        if kept
        else "Of some runs only figures were kept, no samples: lines mark p50, p90 and p99."
    )
    return Drawing(("Distributions",), partial(distributions, drawn), (note, " At the end: p50."))


def _distribution(row: RowView) -> Distribution:
    cells = [row.time(mark) for mark in _MARKS]
    return Distribution(
        label=row.label,
        samples=[time for times in row.figures.samples.get(row.stage, ()) for time in times],
        marks=tuple(zip(_MARKS, cells, strict=True)),
        values=[getattr(row.figures.stages[row.stage], mark) for mark in _MARKS],
        figure=cells[0],
        colour=row.style.colour,
    )


def _stage_bars(rows: Sequence[RowView]) -> Iterator[Drawing]:
    bars = [
        Stack(
            row.label,
            [(name, _median(row, name), row.figures.stages[name].p50) for name in _STAGES],
        )
        for row in rows
        if row.stage == "end_to_end"
    ]
    if not bars:
        return
    note = (
        "Medians of each stage: decode reads the file, pre makes the tensor, run is the model, "
        "post makes detections. Their sum is near the median of the whole, not equal to it."
    )
    legend = swatches([(f"part {name}", name) for name in _STAGES])
    yield Drawing(("Stages",), partial(stacks, bars), (note,), legend)


def _median(row: RowView, stage: str) -> Cell:
    return row.view.cell("ms", *row.at("latency"), "figures", "stages", stage, "p50")


def _times(view: ReportView, rows: Sequence[RowView], names: Sequence[Line]) -> Table:
    columns = [
        TableColumn((title,), place > 1, "page" if title == "samples" else None)
        for place, title in enumerate(_TIMES)
    ]
    body: list[list[Line]] = []
    for row, name in zip(rows, names, strict=True):
        at = (*row.at("latency"), "figures")
        for stage, (words, rate) in _TIMED.items():
            if stage in row.figures.stages:
                place = (*at, "stages", stage)
                cells: list[Line] = [(view.cell("ms", *place, m),) for m in (*_MARKS, "max")]
                cells += [(view.cell("rate", *at, rate),), (view.cell("count", *place, "count"),)]
                body.append([name, (words,), *cells])
    return Table(columns, body, folded="All times")


def _comparisons(view: ReportView, rows: Sequence[RowView]) -> Iterator[Table]:
    """How many times as fast each run is as the one that it is compared with."""
    body: list[list[Line]] = []
    for row in rows:
        other = view.reference_of(row)
        if row.latency and row.latency.comparison and other:
            ratio = row.latency.comparison.end_to_end or row.latency.comparison.run
            verdict = "faster" if ratio.median > 1 else "slower"
            ratios = [row.show("latency", "quartiles", "comparison", key) for _, key in _RATIOS]
            judged = (verdict if ratio.decided else "no difference shown",)
            body.append([_name(row), *ratios, judged, _name(other)])
    if body:
        titles = ("run", *(title for title, _ in _RATIOS), "verdict", "than")
        columns = [TableColumn((title,), 0 < place < 4) for place, title in enumerate(titles)]
        caption = "Times as fast: the median of the rounds and the quartiles"
        yield Table(columns, body, (caption,))


def _method(view: ReportView, index: int) -> list[Block]:
    at: At = ("latency", index)
    found = {
        note: (view.cell("text", *at, "rows", i, "obtained", "notes", k),)
        for i, row in enumerate(view.report.latency[index].rows)
        if row.obtained
        for k, note in enumerate(row.obtained.notes)
    }
    isolation = view.line("{isolation:text}", *at)
    return [*notes(list(found.values())), FactList([("isolation", isolation)])]
