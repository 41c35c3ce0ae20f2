"""Bring together what was measured of the same file on the same runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ghost_deploy.core.evidence.accuracy import AccuracyRow
from ghost_deploy.core.evidence.latency import BenchRow, RunConfig
from ghost_deploy.core.evidence.parity import ParityRow
from ghost_deploy.report.blocks import BundleFacts, Place, Row
from ghost_deploy.report.material import Material
from ghost_deploy.report.number_format import runtime_title

__all__ = ["make_rows"]

_Key = tuple[str, str, str]
"""sha256 of the file, runtime and precision: what was run."""


@dataclass
class _Run:
    """One row while it is put together.

    `config` is None where nothing was timed; `int8` is the status that calibration gave the file,
    and the sentence for it.
    """

    artifact: str
    key: _Key
    subject: str = ""
    config: RunConfig | None = None
    baseline: bool = False
    parity: tuple[Place, ParityRow] | None = None
    accuracy: tuple[Place, AccuracyRow] | None = None
    latency: tuple[Place, BenchRow] | None = None
    int8: tuple[str, str] | None = None


def make_rows(material: Material) -> tuple[Row, ...]:
    """A row for each thing that was run, in the order of the documents, timed ones first.

    Figures belong together when file, runtime and precision are the same. A row that was timed
    several ways (batch, threads, streams) is a row each.
    """
    runs = list(_timed(material))
    for run in _measured(material):
        free = [other for other in runs if other.key == run.key and not other.accuracy]
        for other in free:
            other.accuracy = run.accuracy
        # The same on another data set is a row of its own.
        runs += [] if free else [run]
    for run in _compared(material):
        free = [other for other in runs if other.key == run.key and not other.parity]
        for other in free:
            other.parity = run.parity
        runs += [] if free else [run]
    judged = {sha256: (status, why) for sha256, status, why in int8_rows(material.bundles)}
    for run in runs:
        run.int8 = judged.get(run.key[0])
    labels = _labels(runs)
    return tuple(_row(run, label) for run, label in zip(runs, labels, strict=True))


def _timed(material: Material) -> Iterator[_Run]:
    for index, report in enumerate(material.latency):
        for number, row in enumerate(report.rows):
            # A bare file names no precision; what the runtime obtained is what was run.
            obtained = row.obtained.precision if row.obtained else ""
            precision = row.config.precision or obtained
            yield _Run(
                artifact=row.artifact,
                key=(row.sha256, row.config.runtime, precision),
                subject=row.subject,
                config=row.config,
                baseline=row.baseline,
                latency=(Place(report=index, row=number), row),
            )


def _measured(material: Material) -> Iterator[_Run]:
    for index, report in enumerate(material.accuracy):
        for number, row in enumerate(report.rows):
            key = (row.sha256, row.runtime, row.precision)
            place = Place(report=index, row=number)
            yield _Run(row.artifact, key, report.model, accuracy=(place, row))


def _compared(material: Material) -> Iterator[_Run]:
    for index, report in enumerate(material.parity):
        for number, row in enumerate(report.rows):
            key = (row.sha256, row.runtime, row.precision)
            place = Place(report=index, row=number)
            yield _Run(row.artifact, key, report.model, parity=(place, row))


def _labels(runs: Sequence[_Run]) -> list[str]:
    """Runtime and precision, and whatever else tells a row from the others."""
    labels = [_plain(run) for run in runs]
    # A baseline is told by its name, several models by theirs.
    several = len({run.subject for run in runs if run.latency and not run.baseline}) > 1
    labels = [
        f"{run.subject}: {label}" if run.baseline or (several and run.subject) else label
        for run, label in zip(runs, labels, strict=True)
    ]
    for detail in (_artifact, _batch, _threads, _streams, _file, _document):
        counts = Counter(labels)
        labels = [
            f"{label}, {detail(run)}" if counts[label] > 1 and detail(run) else label
            for run, label in zip(runs, labels, strict=True)
        ]
    return labels


def _plain(run: _Run) -> str:
    _, runtime, precision = run.key
    return f"{runtime_title(runtime)} {precision.upper()}".strip() or run.artifact


def _artifact(run: _Run) -> str:
    return run.artifact


def _batch(run: _Run) -> str:
    return f"batch {run.config.batch}" if run.config else ""


def _threads(run: _Run) -> str:
    if run.config is None:
        return ""
    return f"{run.config.threads} threads" if run.config.threads else "default threads"


def _streams(run: _Run) -> str:
    return f"{run.config.streams} streams" if run.config else ""


def _file(run: _Run) -> str:
    return run.key[0][:8]


def _document(run: _Run) -> str:
    place = (run.latency or run.accuracy or run.parity or [Place(report=0, row=0)])[0]
    return f"document {place.report + 1}"


def _row(run: _Run, label: str) -> Row:
    reasons = [*_faults(run)]
    return Row(
        label=label,
        artifact=run.artifact,
        sha256=run.key[0],
        runtime=run.key[1],
        precision=run.key[2],
        baseline=run.baseline,
        parity=run.parity[0] if run.parity else None,
        accuracy=run.accuracy[0] if run.accuracy else None,
        latency=run.latency[0] if run.latency else None,
        standing=_standing(run, failed=bool(reasons)),
        reasons=tuple(reasons),
    )


def _standing(run: _Run, *, failed: bool) -> Literal["passes", "fails", "unproved", "skipped"]:
    if failed:
        return "fails"
    if _vouched(run):
        return "passes"
    statuses = {each[1].status for each in (run.parity, run.accuracy, run.latency) if each}
    return "skipped" if statuses == {"skipped"} else "unproved"


def _faults(run: _Run) -> Iterator[str]:
    if run.parity and run.parity[1].status == "failed":
        yield f"parity: {'; '.join(run.parity[1].reasons)}"
    if run.accuracy and run.accuracy[1].status == "failed":
        yield f"accuracy: {'; '.join(run.accuracy[1].reasons)}"
    if run.int8 and run.int8[0] == "failed":
        yield f"int8: {run.int8[1]}"
    if run.latency and run.latency[1].status == "failed":
        yield f"it broke while it was timed: {run.latency[1].reason}"


def _vouched(run: _Run) -> bool:
    """Whether a comparison with bars was passed: parity where it has some, or accuracy."""
    if run.int8 and run.int8[0] == "passed":
        return True
    if run.accuracy and run.accuracy[1].status == "passed":
        return True
    parity = run.parity[1] if run.parity else None
    return parity is not None and parity.status == "passed" and parity.gate.judged_by == "parity"


def int8_rows(bundles: Sequence[BundleFacts]) -> Iterator[tuple[str, str, str]]:
    """sha256, status and sentence of each artifact that calibration judged."""
    for report in (bundle.int8 for bundle in bundles):
        for row in report.rows if report else ():
            lost = "its accuracy was not measured"
            if row.drop is not None:
                lost = f"lost {row.drop:.2f} points against float, at most {row.max_drop:g} allowed"
            yield row.sha256, row.status, lost
