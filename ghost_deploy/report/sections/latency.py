"""How fast: distributions, stages, ratios, resources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ghost_deploy.report.cells import (
    Block,
    Cell,
    Column,
    Drawing,
    Facts,
    Line,
    Notes,
    Section,
    Table,
)
from ghost_deploy.report.charts.latency_bars import Spread, Stack, distributions, stacks
from ghost_deploy.report.charts.style import swatches
from ghost_deploy.report.view import RowView, View

__all__ = ["latency"]

_STAGES = ("decode", "pre", "run", "post")
_MARKS = ("p50", "p90", "p99")
_NOTHING: Line = ("-",)
_TIMES = ("run", "timed", "p50 ms", "p90 ms", "p99 ms", "max ms", "images/s", "samples")
_TIMED = {"end_to_end": "file to detections", "run_alone": "model alone"}
_USED = ("run", "CPU cores", "peak memory", "load ms", "first run ms", "drift of rounds")
_POWER = ("run", "power", "energy an image", "GPU load", "hottest", "samples")


def latency(view: View) -> Iterator[Section]:
    """A section for each latency document."""
    for index in range(len(view.report.latency)):
        rows = [row for row in view.timed() if row.latency_at[1] == index]
        if not rows:
            continue
        at: tuple[str | int, ...] = ("latency", index)
        look = view.look
        lead: Line = (
            "On ", look.cell("count", *at, "images", "count"), " images (",
            look.cell("text", *at, "images", "source"), "), ",
            look.cell("seconds", *at, "settings", "duration_s"), " a candidate in ",
            look.cell("count", *at, "settings", "rounds"), " rounds, on ",
            look.cell("text", *at, "snapshot", "machine", "cpu"), " with ",
            look.cell("count", *at, "snapshot", "machine", "cpus"), " CPUs.",
        )  # fmt: skip
        number = f"-{index + 1}" if index else ""
        warnings = view.listed(*at, "warnings")
        blocks: list[Block] = [Notes(warnings, tone="warn")] if warnings else []
        blocks += [_distributions(rows), *_stages(rows), _table(_TIMES, _times(rows), folded=True)]
        blocks += _resources(rows)
        yield Section(f"latency{number}", ("Latency",), [*blocks, _method(view, at)], lead)


def _distributions(rows: Sequence[RowView]) -> Drawing:
    spreads = [_spread(row) for row in rows]
    kept = all(spread.samples for spread in spreads)
    note = (
        "The height says how many of the raw samples took that long; lines mark p50, p90 and p99."
        if kept
        else "Only figures were kept of some runs, no samples: lines mark p50, p90 and p99."
    )
    return Drawing(("Distributions",), distributions(spreads), (note, " At the end: p50."))


def _spread(row: RowView) -> Spread:
    assert row.latency is not None
    assert row.latency.figures is not None
    figures, stage = row.latency.figures, row.stage
    cells = [row.time(mark) for mark in _MARKS]
    return Spread(
        label=row.label,
        samples=[time for times in figures.samples.get(stage, ()) for time in times],
        marks=tuple(zip(_MARKS, cells, strict=True)),
        values=[getattr(figures.stages[stage], mark) for mark in _MARKS],
        figure=cells[0],
        colour=row.style.colour,
    )


def _stages(rows: Sequence[RowView]) -> Iterator[Block]:
    walked = [row for row in rows if row.stage == "end_to_end"]
    if not walked:
        return
    lanes = []
    for row in walked:
        assert row.latency is not None
        assert row.latency.figures is not None
        stages = row.latency.figures.stages
        parts = [(name, _median(row, name), stages[name].p50) for name in _STAGES]
        lanes.append(Stack(row.label, parts))
    legend = swatches([(f"part {name}", name) for name in _STAGES])
    note = (
        "Medians of each stage: decode reads the file, pre makes the tensor, run is the model, "
        "post makes detections. Their sum is near the median of the whole, not equal to it."
    )
    yield Drawing(("Stages",), stacks(lanes), (note,), legend)
    rows_of = [[(row.label,), *((_median(row, name),) for name in _STAGES)] for row in walked]
    yield _table(("ms, median", *_STAGES), rows_of, folded=True)


def _median(row: RowView, stage: str) -> Cell:
    return row.look.cell("ms", *row.latency_at, "figures", "stages", stage, "p50")


def _times(rows: Sequence[RowView]) -> list[list[Line]]:
    lines: list[list[Line]] = []
    for row in rows:
        assert row.latency is not None
        assert row.latency.figures is not None
        at = (*row.latency_at, "figures")
        rates = {"end_to_end": "throughput", "run_alone": "run_throughput"}
        for stage, words in _TIMED.items():
            if stage in row.latency.figures.stages:
                cells: list[Line] = [
                    (row.look.cell("ms", *at, "stages", stage, mark),) for mark in (*_MARKS, "max")
                ]
                rate = row.look.cell("rate", *at, rates[stage])
                count = row.look.cell("count", *at, "stages", stage, "count")
                lines.append([(row.label,), (words,), *cells, (rate,), (count,)])
    return lines


def _resources(rows: Sequence[RowView]) -> Iterator[Block]:
    used: list[list[Line]] = [
        [(row.label,), *((row.look.cell(form, *row.latency_at, "figures", key),)
                         for key, form in (("cpu_cores", "ratio"), ("peak_bytes", "mib"),
                                           ("load_ms", "ms0"), ("first_run_ms", "rate"),
                                           ("spread", "share")))]
        for row in rows
    ]  # fmt: skip
    yield _table(_USED, used, folded=True)
    forms = {
        "watts": "watts",
        "joules_per_image": "millijoules",
        "gpu_load": "load",
        "temperature_c": "celsius",
        "samples": "count",
    }
    told: list[list[Line]] = [
        [(row.label,), *((row.look.cell(form, *row.latency_at, "figures", "power", key),)
                         for key, form in forms.items())]
        for row in rows
        if row.latency and row.latency.figures and row.latency.figures.power
    ]  # fmt: skip
    if told:
        yield _table(_POWER, told)


def _method(view: View, at: tuple[str | int, ...]) -> Facts:
    look = view.look
    found = view.report.latency[int(at[1])]
    notes = {
        note: (*at, "rows", i, "obtained", "notes", k)
        for i, row in enumerate(found.rows)
        if row.obtained
        for k, note in enumerate(row.obtained.notes)
    }
    rows: list[tuple[str, Line]] = [("isolation", (look.cell("text", *at, "isolation"),))]
    rows += [("note", (look.cell("text", *place),)) for place in notes.values()]
    return Facts(rows)


def _table(titles: Sequence[str], rows: Sequence[Sequence[Line]], *, folded: bool = False) -> Table:
    columns = [
        Column((title,), right=place > 0 and title != "timed") for place, title in enumerate(titles)
    ]
    return Table(columns, rows, folded=_FOLDED.get(titles[1], "") if folded else "")


_FOLDED = {"timed": "All times", "decode": "Stages in figures", "CPU cores": "Resources"}
