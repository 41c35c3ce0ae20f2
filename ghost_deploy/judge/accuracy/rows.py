"""What one model of an accuracy run came to, and the row that it ends in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.accuracy import Accuracy, AccuracyRow, ClassDelta
from ghost_deploy.judge.accuracy.average_precision import coco_map
from ghost_deploy.judge.accuracy.bootstrap import Resampler
from ghost_deploy.judge.accuracy.hard_images import Sight
from ghost_deploy.judge.accuracy.max_drop import Bar, bar_of
from ghost_deploy.judge.candidates import Candidate
from ghost_deploy.runtimes import RUNTIMES, RuntimeInfo

__all__ = ["Figures", "Run", "row_of", "unopened_rows"]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Figures:
    """What was measured of one model.

    Attributes:
        accuracy: its figures.
        classes: (B, K) AP50-95 of each class on each resample.
        sights: its detections above the model's own threshold, in the order of the images.
    """

    accuracy: Accuracy
    classes: NDArray[np.float64]
    sights: list[Sight]


@dataclass(frozen=True)
class Run:
    """A candidate that was measured, or why it was not."""

    candidate: Candidate
    figures: Figures | None = None
    info: RuntimeInfo | None = None
    skipped: str = ""
    broken: str = ""


def row_of(run: Run, reference: Figures | None, bar: Bar) -> AccuracyRow:
    """Judge a run against the reference."""
    artifact, info, figures = run.candidate.artifact, run.info, run.figures
    reasons: tuple[str, ...] = tuple(filter(None, (run.skipped, run.broken)))
    delta, interval = None, None
    classes: tuple[ClassDelta, ...] = ()
    if figures and reference and figures is not reference:
        delta = 100 * (figures.accuracy.map50_95 - reference.accuracy.map50_95)
        interval = Resampler.interval(coco_map(reference.classes), coco_map(figures.classes))
        classes = tuple(_class_deltas(reference, figures))
        if delta < -bar.points - _ROUNDING:
            reasons = (f"lost {-delta:.2f} points of mAP50-95, at most {bar.points:g} allowed",)
    elif figures and not reference:
        reasons = ("there is nothing to compare with: no checkpoint and no fp32 artifact",)
    return AccuracyRow(
        artifact=artifact.id,
        sha256=artifact.files.get(artifact.path, ""),
        runtime=run.candidate.runtime,
        precision=run.candidate.precision,
        status=_status(
            run, bool(reasons), is_reference=reference is not None and figures is reference
        ),
        max_drop=bar.points,
        reasons=reasons,
        accuracy=figures.accuracy if figures else None,
        delta=delta,
        interval=interval,
        classes=classes,
        device=info.device if info else "",
        version=info.version if info else "",
        compute=info.compute if info else "",
        notes=(*_notes(run), *filter(None, [bar.note])),
    )


def _notes(run: Run) -> tuple[str, ...]:
    own = run.info.notes if run.info else ()
    if not run.candidate.foreign:
        return own
    form = run.candidate.artifact.form
    return (*own, f"made for {form}: judged for accuracy here, not for speed")


def _class_deltas(reference: Figures, figures: Figures) -> Iterator[ClassDelta]:
    pairs = zip(reference.accuracy.classes, figures.accuracy.classes, strict=True)
    for k, (theirs, own) in enumerate(pairs):
        if theirs.ap50_95 is None or own.ap50_95 is None:
            yield ClassDelta(delta=None, interval=None)
            continue
        interval = Resampler.interval(reference.classes[:, k], figures.classes[:, k])
        yield ClassDelta(delta=100 * (own.ap50_95 - theirs.ap50_95), interval=interval)


def _status(
    run: Run, blamed: bool, *, is_reference: bool
) -> Literal["passed", "failed", "skipped", "reference"]:
    if run.skipped:
        return "skipped"
    if blamed:
        return "failed"
    # A model held against itself passes any gate: that is no verdict.
    return "reference" if is_reference else "passed"


def unopened_rows(bundle: Bundle, max_drop: float | None) -> Iterator[AccuracyRow]:
    """Artifacts that no runtime of this version opens, so that nobody takes them for judged."""
    formats = {row.format for row in RUNTIMES.values()}
    for artifact in bundle.artifacts:
        if artifact.format not in formats:
            yield AccuracyRow(
                artifact=artifact.id,
                sha256=artifact.files.get(artifact.path, ""),
                runtime="",
                precision=artifact.precision,
                status="skipped",
                max_drop=bar_of(bundle, artifact, artifact.precision, max_drop).points,
                reasons=(f"no runtime of this version opens {artifact.format}",),
            )
