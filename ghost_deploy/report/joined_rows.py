"""Join what was measured of the same file on the same runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ghost_deploy.core.bundle.verdicts import command_that_replaces
from ghost_deploy.core.evidence.accuracy import AccuracyRow
from ghost_deploy.core.evidence.fork_report import ForkReport
from ghost_deploy.core.evidence.latency import BenchRow, RunConfig
from ghost_deploy.core.evidence.parity import ParityRow
from ghost_deploy.core.evidence.statistics_report import StatisticsReport
from ghost_deploy.report.material import Material
from ghost_deploy.report.number_format import runtime_title
from ghost_deploy.report.report_document import BundleFacts, ReportRow, RowRef

_Key = tuple[str, str, str]
"""sha256 of the file, runtime and precision: what was run."""


@dataclass
class _Run:
    """One row while it is built.

    `config` is None where nothing was timed; `int8` is the status that calibration gave the file,
    and the sentence for it; `fork`
    why its network is not that of the fork's own code.
    """

    artifact: str
    key: _Key
    subject: str = ""
    config: RunConfig | None = None
    baseline: bool = False
    parity: tuple[RowRef, ParityRow] | None = None
    accuracy: tuple[RowRef, AccuracyRow] | None = None
    latency: tuple[RowRef, BenchRow] | None = None
    int8: tuple[str, str] | None = None
    fork: str = ""


def make_rows(material: Material) -> tuple[ReportRow, ...]:
    """A row for each run, in the order of the documents, timed ones first.

    Figures belong together when file, runtime and precision are the same. A row that was timed
    several ways (batch, threads, streams) is a row each.
    """
    runs = list(_timed(material))
    for kind in ("accuracy", "parity"):
        for run in _judged(material, kind):
            free = [o for o in runs if o.key == run.key and not getattr(o, kind)]
            for other in free:
                setattr(other, kind, getattr(run, kind))
            # The same on another data set is a row of its own.
            runs += [] if free else [run]
    unlike = dict(_fork_failures(material.bundles))
    judged = {sha256: (status, why) for sha256, status, why in int8_rows(material.bundles)}
    for run in runs:
        run.int8 = judged.get(run.key[0])
        run.fork = unlike.get(run.key[0], "")
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
                latency=(RowRef(report=index, row=number), row),
            )


def _judged(material: Material, kind: str) -> Iterator[_Run]:
    """The rows of the accuracy or of the parity documents."""
    for index, report in enumerate(getattr(material, kind)):
        for number, row in enumerate(report.rows):
            run = _Run(row.artifact, (row.sha256, row.runtime, row.precision), report.model)
            setattr(run, kind, (RowRef(report=index, row=number), row))
            yield run


def _labels(runs: Sequence[_Run]) -> list[str]:
    """Runtime and precision, and the details in which rows with the same label differ."""
    labels = [_plain(run) for run in runs]
    # A baseline is named, and so are several models.
    several = len({run.subject for run in runs if run.latency and not run.baseline}) > 1
    labels = [
        f"{run.subject}: {label}" if run.baseline or (several and run.subject) else label
        for run, label in zip(runs, labels, strict=True)
    ]
    for details in zip(*map(_details, runs), strict=True):
        ambiguous = Counter(label for label, _ in set(zip(labels, details, strict=True)))
        labels = [
            f"{label}, {text}" if ambiguous[label] > 1 and text else label
            for label, text in zip(labels, details, strict=True)
        ]
    return labels


def _plain(run: _Run) -> str:
    _, runtime, precision = run.key
    return f"{runtime_title(runtime)} {precision.upper()}".strip() or run.artifact


def _details(run: _Run) -> tuple[str, ...]:
    """Artifact, batch, threads, streams, file and document; empty where it has none."""
    timed = ("", "", "")
    if run.config:
        threads, streams = run.config.threads, run.config.streams
        timed = (
            f"batch {run.config.batch}",
            f"{threads} thread{'s' * (threads > 1)}" if threads else "default threads",
            f"{streams} stream{'s' * (streams > 1)}",
        )
    place = (run.latency or run.accuracy or run.parity or [RowRef(report=0, row=0)])[0]
    return (run.artifact, *timed, run.key[0][:8], f"document {place.report + 1}")


def _row(run: _Run, label: str) -> ReportRow:
    reasons = list(_failures(run))
    if reasons and not run.baseline and run.artifact:
        reasons.append(f"replace it: {command_that_replaces(run.artifact, run.key[2])}")
    return ReportRow(
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
    if _passed(run):
        return "passes"
    statuses = {each[1].status for each in (run.parity, run.accuracy, run.latency) if each}
    return "skipped" if statuses == {"skipped"} else "unproved"


def _failures(run: _Run) -> Iterator[str]:
    if run.parity and run.parity[1].status == "failed":
        yield f"parity: {'; '.join(run.parity[1].reasons)}"
    if run.accuracy and run.accuracy[1].status == "failed":
        yield f"accuracy: {'; '.join(run.accuracy[1].reasons)}"
    if run.int8 and run.int8[0] == "failed":
        yield f"int8: {run.int8[1]}"
    if run.fork:
        yield run.fork
    if run.latency and run.latency[1].status == "failed":
        yield f"it failed while it was timed: {run.latency[1].reason}"


def _passed(run: _Run) -> bool:
    """Whether a gate was passed: of accuracy, or of parity where the precision has one."""
    if run.int8 and run.int8[0] == "passed":
        return True
    if run.accuracy and run.accuracy[1].status == "passed":
        return True
    parity = run.parity[1] if run.parity else None
    return parity is not None and parity.status == "passed" and parity.gate.judged_by == "parity"


def _fork_failures(bundles: Sequence[BundleFacts]) -> Iterator[tuple[str, str]]:
    """sha256 of each artifact whose network is not the trained or the fork's own, and why."""
    for bundle in bundles:
        statistics = bundle.read(StatisticsReport)
        if statistics and statistics.outcome is False:
            for artifact in bundle.document.artifacts:
                why = f"recorded statistics: {statistics.sentence.rstrip('.')}"
                yield artifact.files[artifact.path], why
        report = bundle.read(ForkReport)
        if report and report.status == "failed":
            for artifact in bundle.document.artifacts:
                why = f"the fork's own code: {'; '.join(report.reasons)}"
                yield artifact.files[artifact.path], why


def int8_rows(bundles: Sequence[BundleFacts]) -> Iterator[tuple[str, str, str]]:
    """sha256, status and sentence of each artifact that calibration judged."""
    for report in (bundle.int8 for bundle in bundles):
        for row in report.rows if report else ():
            lost = "its accuracy was not measured"
            if row.drop is not None:
                lost = f"lost {row.drop:.2f} points against float, at most {row.max_drop:g} allowed"
            yield row.sha256, row.status, lost
