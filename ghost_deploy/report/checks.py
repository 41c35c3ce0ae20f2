"""Consistency of documents, beyond their types, that pages rely on.

Documents may have been edited, or written by another program.
"""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.core.evidence.accuracy import Accuracy, AccuracyReport
from ghost_deploy.core.evidence.latency import BenchReport
from ghost_deploy.core.evidence.parity import ParityReport

END_TO_END_STAGES = ("decode", "pre", "run", "post", "end_to_end")
"""Stages of a timed run from file to detections; a row has all of them or none."""

_CURVE = 101


def contradictions(part: ParityReport | AccuracyReport | BenchReport) -> Iterator[str]:
    """One sentence for each contradiction in a document."""
    if isinstance(part, AccuracyReport):
        yield from _accuracy(part)
    elif isinstance(part, BenchReport):
        yield from _latency(part)


def _accuracy(report: AccuracyReport) -> Iterator[str]:
    measured = [row.accuracy for row in report.rows if row.accuracy]
    if report.reference:
        measured.append(report.reference.accuracy)
    if len({tuple(each.name for each in accuracy.classes) for accuracy in measured}) > 1:
        yield "the classes are not the same in every row"
    if any(not _whole(accuracy) for accuracy in measured):
        yield f"a curve has neither {_CURVE} values nor none"
    for row in report.rows:
        count = len(row.accuracy.classes) if row.accuracy else 0
        if row.classes and len(row.classes) != count:
            yield f"{row.artifact} has differences of other classes than it was measured for"
        if row.delta is not None and report.reference is None:
            yield f"{row.artifact} has a difference to a reference that is not there"
    for image in report.hard_images:
        if not 0 <= image.row < len(report.rows):
            yield f"{image.name} is shown for a row that is not there"
        if min(image.size_hw) < 1:
            yield f"{image.name} has no size"


def _whole(accuracy: Accuracy) -> bool:
    return all(len(each.curve) in (0, _CURVE) for each in accuracy.classes)


def _latency(report: BenchReport) -> Iterator[str]:
    for row in report.rows:
        if row.figures is None:
            continue
        there = [name for name in END_TO_END_STAGES if name in row.figures.stages]
        if "run_alone" not in row.figures.stages or len(there) not in (0, len(END_TO_END_STAGES)):
            yield f"{row.artifact} lacks the times of some stages"
        if row.config.batch < 1:
            yield f"{row.artifact} was run with a batch of {row.config.batch}"
