"""A latency report for a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import mebibytes, plural

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.latency import (
        BenchReport,
        BenchRow,
        LatencyFigures,
        SpeedComparison,
    )

__all__ = ["labels", "print_latency"]

_NUMBERS = ("p50 ms", "p90 ms", "p99 ms", "max ms", "images/s")
_TIMED = {"run_alone": "model alone", "end_to_end": "end to end"}
_STAGES = ("decode", "pre", "run", "post")


def print_latency(report: BenchReport, console: Console) -> None:
    """Times, stages, comparisons, then what they rest on."""
    names = [
        f"{name} (failed)" if row.failed_verdicts else name
        for name, row in zip(labels(report.rows), report.rows, strict=True)
    ]
    measured = [(name, row.figures) for name, row in zip(names, report.rows, strict=True)]
    found = [(name, figures) for name, figures in measured if figures]
    _table(console, ("candidate", "timed"), _NUMBERS, _times(found))
    stages = [[name, *_stages(figures)] for name, figures in found]
    _table(console, ("median ms of",), (*_STAGES, "first run", "load"), stages)
    used = [[name, *_resources(figures)] for name, figures in found]
    _table(console, ("resources of",), ("CPU cores", "memory", "before loading", "spread"), used)
    _table(console, ("power of",), _POWER, [row for pair in found for row in _power(*pair)])
    speeds = [
        [name, *_speeds(row.comparison), names[row.comparison.reference]]
        for name, row in zip(names, report.rows, strict=True)
        if row.comparison
    ]
    titles = ("times as fast (quartiles)", "model alone", "end to end", "images/s", "", "than")
    _table(console, titles, (), speeds)
    for line in _facts(report):
        console.result(line)


def labels(rows: Sequence[BenchRow]) -> list[str]:
    """A name for each row that says how it differs from the others."""
    several = {
        field: len({getattr(row.config, field) for row in rows}) > 1
        for field in ("batch", "threads", "streams")
    }
    subjects = {row.subject for row in rows}
    return [
        " ".join(
            filter(
                None,
                (
                    row.subject if len(subjects) > 1 and row.subject != row.artifact else "",
                    row.artifact,
                    row.config.runtime,
                    "" if row.artifact.endswith(row.config.precision) else row.config.precision,
                    f"batch {row.config.batch}" if several["batch"] else "",
                    _threads(row.config.threads) if several["threads"] else "",
                    plural(row.config.streams, "stream") if several["streams"] else "",
                ),
            )
        )
        for row in rows
    ]


def _threads(count: int) -> str:
    return plural(count, "thread") if count else "default threads"


def _times(found: Sequence[tuple[str, LatencyFigures]]) -> list[list[str]]:
    rows = []
    for name, figures in found:
        rates = {"run_alone": figures.run_throughput, "end_to_end": figures.throughput}
        for stage, title in _TIMED.items():
            if stage in figures.stages:
                times = figures.stages[stage]
                cells = [f"{value:.2f}" for value in (times.p50, times.p90, times.p99, times.max)]
                rows.append([name, title, *cells, f"{rates[stage]:.1f}"])
    return rows


def _stages(figures: LatencyFigures) -> list[str]:
    medians = [figures.stages[name].p50 if name in figures.stages else None for name in _STAGES]
    cells = ["-" if value is None else f"{value:.2f}" for value in medians]
    return [*cells, f"{figures.first_run_ms:.1f}", f"{figures.load_ms:.0f}"]


def _resources(figures: LatencyFigures) -> list[str]:
    return [
        f"{figures.cpu_cores:.2f}",
        mebibytes(figures.peak_bytes),
        mebibytes(figures.start_bytes),
        f"{figures.spread:.1%}",
    ]


_POWER = ("watts", "mJ/image", "GPU load", "hottest", "samples")


def _power(name: str, figures: LatencyFigures) -> Iterator[list[str]]:
    power = figures.power
    if power is None:
        return
    joules = power.joules_per_image
    yield [
        name,
        _told(power.watts, ".2f"),
        _told(None if joules is None else 1000 * joules, ".1f"),
        _told(power.gpu_load, ".0f", " %"),
        _told(power.temperature_c, ".1f", " °C"),
        str(power.samples),
    ]


def _told(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _speeds(comparison: SpeedComparison) -> list[str]:
    ratios = (comparison.run, comparison.end_to_end, comparison.throughput)
    judged = comparison.end_to_end or comparison.run
    verdict = "faster" if judged.median > 1 else "slower"
    cells = ["-" if each is None else str(each) for each in ratios]
    return [*cells, verdict if judged.decided else "no difference shown"]


def _facts(report: BenchReport) -> Iterator[str]:
    settings = report.settings
    yield f"on {report.snapshot.sentence}"
    yield (
        f"measured on {plural(report.images.count, 'image')} ({report.images.source}), "
        f"{settings.duration_s:g} s a candidate in {plural(settings.rounds, 'round')}"
    )
    yield f"isolation: {report.isolation}"
    notes = {note: None for row in report.rows if row.obtained for note in row.obtained.notes}
    for note in notes:
        yield f"note: {note}"
    for warning in report.warnings:
        yield f"warning: {warning}"


def _table(
    console: Console,
    names: Sequence[str],
    numbers: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> None:
    if rows:
        columns = [Column(name) for name in names] + [Column(name, right=True) for name in numbers]
        console.table(columns, rows)
        console.result("")
