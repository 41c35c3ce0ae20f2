"""An accuracy report for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import plural

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.accuracy import Accuracy, AccuracyReport, AccuracyRow

__all__ = ["print_accuracy"]

_COLUMNS = (
    Column("artifact"),
    Column("runtime"),
    Column("precision"),
    Column("accuracy"),
    Column("mAP50-95", right=True),
    Column("mAP50", right=True),
    Column("points", right=True),
    Column("95 % interval", right=True),
)


def print_accuracy(report: AccuracyReport, console: Console) -> None:
    """The runs, the classes, then what failed and why, then what the verdict rests on."""
    rows = [_cells(row) for row in report.rows]
    if report.reference and report.reference.kind == "checkpoint":
        rows.insert(0, _reference_cells(report.reference.accuracy))
    console.table(_COLUMNS, rows)
    console.result("")
    _print_classes(report, console)
    for row in report.rows:
        for reason in row.reasons:
            name = f"{row.artifact} on {row.runtime} in {row.precision}".replace(" on  ", " ")
            console.result(f"{name} {row.status}: {reason}")
    for line in _facts(report):
        console.result(line)
    console.result(f"{report.summary()}.")


def _cells(row: AccuracyRow) -> list[str]:
    cells = [row.artifact, row.runtime, row.precision, row.status]
    if row.accuracy is None:
        return [*cells, "-", "-", "-", "-"]
    delta = "-" if row.delta is None else f"{row.delta:+.2f}"
    interval = "-" if row.interval is None else str(row.interval)
    figures = (f"{row.accuracy.map50_95:.4f}", f"{row.accuracy.map50:.4f}")
    return [*cells, *figures, delta, interval]


def _reference_cells(accuracy: Accuracy) -> list[str]:
    figures = [f"{accuracy.map50_95:.4f}", f"{accuracy.map50:.4f}"]
    return ["checkpoint", "eager", "fp32", "reference", *figures, "", ""]


def _print_classes(report: AccuracyReport, console: Console) -> None:
    """AP50-95 of each class, a column for each run."""
    runs = [(f"{r.artifact} {r.runtime}", r.accuracy) for r in report.rows if r.accuracy]
    if report.reference and report.reference.kind == "checkpoint":
        runs.insert(0, ("checkpoint", report.reference.accuracy))
    if not runs:
        return
    columns = [Column("AP50-95 of"), Column("boxes", right=True)]
    columns += [Column(name, right=True) for name, _ in runs]
    rows = [
        [first.name, str(first.boxes), *(_ap(accuracy.classes[k].ap50_95) for _, accuracy in runs)]
        for k, first in enumerate(runs[0][1].classes)
    ]
    console.table(columns, rows)
    console.result("")


def _ap(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _facts(report: AccuracyReport) -> Iterator[str]:
    data = report.data
    place = f"{data.name} ({data.split})" if data.split else data.name
    boxes = plural(sum(data.boxes.values()), "box").replace("boxs", "boxes")
    yield f"measured on {place}: {plural(data.images, 'image')}, {boxes}"
    measured = next((row.accuracy for row in report.rows if row.accuracy), None)
    if measured:
        yield f"protocol: {measured.protocol}"
    if report.reference:
        yield f"points of mAP50-95 (0.01) against: {report.reference.name}"
    if report.recorded:
        yield ("" if report.recorded.agrees else "warning: ") + report.recorded.sentence
    for note in data.notes:
        yield f"note: {note}"
    notes: dict[str, dict[str, None]] = {}
    for row in report.rows:
        for note in row.notes:
            notes.setdefault(note, {})[row.artifact] = None
    for note, artifacts in notes.items():
        yield f"note: {', '.join(artifacts)}: {note}"
    for warning in report.warnings:
        yield f"warning: {warning}"
