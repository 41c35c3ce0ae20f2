"""A calibration report for a person."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import plural

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.int8 import (
        CurvePoint,
        Int8Report,
        Int8Row,
        Sensitivity,
        SpeedRow,
        Trial,
    )

__all__ = ["print_int8"]

_ROWS = (
    Column("int8 artifact"),
    Column("judged on"),
    Column("verdict"),
    Column("lost", right=True),
    Column("allowed", right=True),
    Column("int8 multiply-adds", right=True),
    Column("recipe"),
)
_SPEED = (
    Column("model alone"),
    Column("runtime"),
    Column("p50 ms", right=True),
    Column("over fp32", right=True),
    Column("over fastest float (quartiles)", right=True),
)
_LAYERS = (
    Column("harmful layers"),
    Column("form"),
    Column("harm", right=True),
    Column("multiply-adds", right=True),
    Column("now"),
    Column("gains", right=True),
    Column("costs ms", right=True),
)
_CURVE = (
    Column("in int8", right=True),
    Column("form"),
    Column("lost", right=True),
    Column("float groups", right=True),
)
_WIDTH = 32
"""Characters of the line that a point of the curve stands on."""
_NAMED = 5
"""Of pictures that could not be used, and of harmful layers of each form, so many are named."""

_TRIALS = (
    Column("tried for"),
    Column("recipe"),
    Column("points", right=True),
    Column("time", right=True),
    Column("kept"),
)


def print_int8(report: Int8Report, console: Console) -> None:
    """What was made, what was tried, how fast it is, what to use."""
    console.table(_ROWS, [_cells(row) for row in report.rows])
    console.result("")
    if len(report.trials) > len(report.rows):
        console.table(_TRIALS, [_trial(each) for each in report.trials])
        console.result("")
    if report.sensitivity:
        console.table(_LAYERS, list(_harms(report)))
        console.result("")
        for form, found in report.sensitivity.items():
            _print_curve(report, form, found, console)
    if report.speed:
        console.table(_SPEED, [_speed(row) for row in report.speed])
        console.result("")
    for line in _facts(report):
        console.result(line)
    console.result(report.verdict)


def _cells(row: Int8Row) -> list[str]:
    share = f"{row.executed.share:.1%} ran" if row.executed else _planned(row)
    return [
        row.artifact,
        row.judged_on or "-",
        row.status,
        "-" if row.drop is None else f"{row.drop:+.2f}",
        f"{row.max_drop:g}",
        share,
        row.recipe,
    ]


def _planned(row: Int8Row) -> str:
    return "-" if row.planned_share is None else f"{row.planned_share:.1%} planned"


def _trial(trial: Trial) -> list[str]:
    return [
        trial.form,
        trial.recipe,
        trial.problem or ("-" if trial.points is None else f"{trial.points:.2f}"),
        "-" if trial.time is None else f"{trial.time:.2f}",
        "kept" if trial.chosen else "",
    ]


def _speed(row: SpeedRow) -> list[str]:
    return [
        row.artifact,
        row.runtime,
        f"{row.p50_ms:.2f}",
        "-" if row.over_fp32 is None else f"{row.over_fp32:.2f}",
        f"{row.over_fastest_float:.2f} ({row.low:.2f} to {row.high:.2f})",
    ]


def _harms(report: Int8Report) -> Iterator[list[str]]:
    """Every layer that was returned to float, and the most harmful of those that were not."""
    for form, found in report.sensitivity.items():
        for place, layer in enumerate(found.layers):
            if layer.returned or place < _NAMED:
                yield [
                    layer.nodes[0],
                    form,
                    "-" if layer.harm is None else f"{layer.harm:+.2f}",
                    f"{layer.share:.1%}",
                    "float" if layer.returned else "int8",
                    "-" if layer.gain is None else f"{layer.gain:+.2f}",
                    "-" if layer.cost_ms is None else f"{layer.cost_ms:+.2f}",
                ]


def _print_curve(report: Int8Report, form: str, found: Sensitivity, console: Console) -> None:
    """The choices that no other beats in both figures, each as a point on a line."""
    from ghost_deploy.report.charts.tradeoff import best_so_far

    best = best_so_far([(point.int8_share, point.lost) for point in found.curve])
    points = [p for i, p in enumerate(found.curve) if i in best or p.chosen]
    if not points:
        return
    bar = next((row.max_drop for row in report.rows if row.form == form), None)
    most = max(0.1, *(point.lost for point in points), bar or 0.0)
    allowed = "" if bar is None else f", | {bar:g} allowed"
    console.table(
        (*_CURVE, Column(f"0 to {most:.2f} points lost{allowed}")),
        [_point(point, form, most, bar) for point in points],
    )
    console.result("")


def _point(point: CurvePoint, form: str, most: float, bar: float | None) -> list[str]:
    line = [" "] * _WIDTH
    if bar is not None:
        line[_place(bar, most)] = "|"
    line[_place(point.lost, most)] = "*" if point.chosen else "o"
    return [
        f"{point.int8_share:.1%}",
        form,
        f"{point.lost:+.2f}",
        str(point.returned),
        "".join(line).rstrip() + ("  chosen" if point.chosen else ""),
    ]


def _place(points: float, most: float) -> int:
    return round(min(max(points / most, 0.0), 1.0) * (_WIDTH - 1))


def _facts(report: Int8Report) -> Iterator[str]:
    used, judged = report.calibration, report.judged
    yield (
        f"Ranges from {plural(used.images, 'picture')} (set {used.fingerprint[:12]}, "
        f"seed {used.seed})."
    )
    if used.skipped:
        names = ", ".join(used.skipped[:_NAMED]) + (", ..." if len(used.skipped) > _NAMED else "")
        yield f"{plural(len(used.skipped), 'picture')} could not be used: {names}"
    if used.duplicates:
        yield f"{plural(used.duplicates, 'picture')} left out: equal to one that is there."
    yield from used.notes
    what = "mAP50-95" if judged.by == "labels" else "agreement with the float model (its mAP50-95)"
    yield (
        f"Judged by {what} on {judged.data}: {plural(judged.images, 'image')}, "
        f"{plural(judged.objects, 'object')}; the float model has {judged.reference:.2f} points."
    )
    for row in report.rows:
        if row.kept_float:
            yield f"{row.artifact} keeps {plural(len(row.kept_float), 'convolution')} in float."
        for note in row.notes:
            yield f"{row.artifact}: {note}."
    for form, found in report.sensitivity.items():
        if found.problem:
            yield f"For {form} returning layers to float does not help: {found.problem}."
