"""The recommendation for this machine, in words."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.int8 import Int8Report, Int8Row
from ghost_deploy.core.evidence.run_name import run_name

_BOARDS = "ncnn"
"""The form whose processors are mostly not this machine's."""

_FASTER = 0.97
"""int8 counts as faster up to this multiple of the fastest float time."""


def verdict(report: Int8Report) -> str:
    """The recommendation that follows from accuracy and times.

    Args:
        report: with its rows and, where they were measured, its times.
    """
    return " ".join(_sentences(report))


def _sentences(report: Int8Report) -> Iterator[str]:
    failed = [row for row in report.rows if row.status == "failed"]
    for row in failed:
        what = "Do not use {}" if row.kept else "{} was not kept"
        lost = f"{_lost(row, report)}, at most {row.max_drop:g} allowed."
        yield f"{what.format(row.artifact)}: {lost}"
    passed = {row.artifact: row for row in report.rows if row.status == "passed"}
    timed = [row for row in report.speed if row.artifact in passed]
    if not timed:
        if passed:
            speed = "its speed was" if len(passed) == 1 else "their speed was"
            yield f"{', '.join(passed)} passed; {speed} not measured here."
        return
    best = min(timed, key=lambda row: row.over_fastest_float)
    row = passed[best.artifact]
    if best.over_fastest_float <= _FASTER:
        yield (
            f"Use {best.artifact} on {best.runtime} here: {1 / best.over_fastest_float:.2f} times "
            f"as fast as the fastest float ({_fastest_float(report)}), {_lost(row, report)}."
        )
    elif best.low < 1.0:
        yield (
            f"Whether INT8 is faster here was not decided: half of the rounds of {best.artifact} "
            f"on {best.runtime} took {best.low:.2f} to {best.high:.2f} times as long as "
            f"{_fastest_float(report)}. Measure again when the machine is idle: ghost-deploy "
            "bench BUNDLE."
        )
    else:
        yield (
            f"Do not use INT8 here: the best of it, {best.artifact} on {best.runtime}, takes "
            f"{best.over_fastest_float:.2f} times as long as {_fastest_float(report)}."
        )
    yield from _where_it_holds(report)
    for slow in timed:
        if slow is not best and slow.over_fastest_float > 1.0:
            yield (
                f"On {slow.runtime}, {slow.artifact} takes {slow.over_fastest_float:.2f} times as "
                "long as the fastest float."
            )


def _where_it_holds(report: Int8Report) -> Iterator[str]:
    """With how many threads, on which machine and how noisy the rounds were."""
    if report.threads is not None:
        count = f"{report.threads} thread{'' if report.threads == 1 else 's'}"
        threads = count if report.threads else "as many threads as each runtime takes"
        yield f"Measured with {threads} on this machine{_in_brackets(report.machine)}."
    if report.speed_warnings:
        yield (
            "Measured on a busy machine, or too briefly: the times are doubtful, see the warnings; "
            "ghost-deploy bench BUNDLE measures again."
        )
    boards = [r.artifact for r in report.rows if r.form == _BOARDS and r.status == "passed"]
    if boards:
        yield (
            f"{', '.join(boards)}: made for boards; ghost-deploy check or bench on the board "
            "decides there."
        )


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _lost(row: Int8Row, report: Int8Report) -> str:
    what = "mAP50-95" if report.judged.by == "labels" else "agreement with the float model"
    points = row.drop or 0.0
    if points <= 0:
        return f"it loses nothing ({-points:+.2f} points of {what})"
    return f"it loses {points:.2f} points of {what}"


def _fastest_float(report: Int8Report) -> str:
    floats = [row for row in report.speed if row.precision != "int8"]
    fastest = min(floats, key=lambda row: row.p50_ms)
    return run_name(fastest.artifact, fastest.runtime, fastest.precision)
