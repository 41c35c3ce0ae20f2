"""The result of one model in an accuracy run, and its row in the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.accuracy import Accuracy, AccuracyRow, ClassDelta, Interval
from ghost_deploy.judge.accuracy.average_precision import coco_map
from ghost_deploy.judge.accuracy.bootstrap import Resampler
from ghost_deploy.judge.accuracy.choose_hard_images import ImageDetections
from ghost_deploy.judge.accuracy.max_drop import MaxDrop, max_drop_of
from ghost_deploy.runtimes.base import RuntimeInfo
from ghost_deploy.runtimes.run_plan import PlannedRun, unopened

_ROUNDING = 1e-9


@dataclass(frozen=True)
class AccuracyFigures:
    """What was measured of one model.

    Attributes:
        accuracy: on all images.
        classes: (B, K) AP50-95 of each class on each resample, 0 to 1.
        detections: above the threshold of the model, in the order of the images.
    """

    accuracy: Accuracy
    classes: NDArray[np.float64]
    detections: list[ImageDetections]


@dataclass(frozen=True)
class MeasuredRun:
    """A planned run that was measured, or why it was skipped or is broken."""

    plan: PlannedRun
    figures: AccuracyFigures | None = None
    info: RuntimeInfo | None = None
    skipped: str = ""
    broken: str = ""


def row_of(run: MeasuredRun, reference: AccuracyFigures | None, limit: MaxDrop) -> AccuracyRow:
    """Judge a run against the reference.

    Args:
        run: measured or not.
        reference: figures of the reference; None without one.
        limit: largest loss that passes.
    """
    artifact, info, figures = run.plan.artifact, run.info, run.figures
    reasons: tuple[str, ...] = tuple(filter(None, (run.skipped, run.broken)))
    delta, interval = None, None
    classes: tuple[ClassDelta, ...] = ()
    if figures and reference and figures is not reference:
        delta, interval, classes = differences(reference, figures)
        reasons = lost_too_much(delta, limit.points) or reasons
    elif figures and not reference:
        reasons = ("there is nothing to compare with: no checkpoint and no fp32 artifact",)
    foreign = f"made for {artifact.form}: judged for accuracy here, not for speed"
    remarks = (foreign if run.plan.foreign else "", limit.note)
    return AccuracyRow(
        artifact=artifact.id,
        sha256=artifact.files.get(artifact.path, ""),
        runtime=run.plan.row.name,
        precision=run.plan.precision,
        status=_status(
            run, bool(reasons), is_reference=reference is not None and figures is reference
        ),
        max_drop=limit.points,
        reasons=reasons,
        accuracy=figures.accuracy if figures else None,
        delta=delta,
        interval=interval,
        classes=classes,
        device=info.device if info else "",
        version=info.version if info else "",
        compute=info.compute if info else "",
        notes=(*(info.notes if info else ()), *filter(None, remarks)),
    )


def differences(
    reference: AccuracyFigures, figures: AccuracyFigures
) -> tuple[float, Interval, tuple[ClassDelta, ...]]:
    """Points of mAP50-95 that were gained, where they lie, and the same of each class.

    Args:
        reference, figures: of the same images, resamples and classes.
    """
    delta = 100 * (figures.accuracy.map50_95 - reference.accuracy.map50_95)
    interval = Resampler.interval(coco_map(reference.classes), coco_map(figures.classes))
    return delta, interval, tuple(_class_deltas(reference, figures))


def lost_too_much(delta: float, points: float) -> tuple[str, ...]:
    """Why a difference fails a gate; empty if it passes.

    Args:
        delta: points of mAP50-95 gained.
        points: the largest loss that passes.
    """
    if delta >= -points - _ROUNDING:
        return ()
    return (f"lost {-delta:.2f} points of mAP50-95, at most {points:g} allowed",)


def _class_deltas(reference: AccuracyFigures, figures: AccuracyFigures) -> Iterator[ClassDelta]:
    pairs = zip(reference.accuracy.classes, figures.accuracy.classes, strict=True)
    for k, (theirs, own) in enumerate(pairs):
        if theirs.ap50_95 is None or own.ap50_95 is None:
            yield ClassDelta(delta=None, interval=None)
            continue
        interval = Resampler.interval(reference.classes[:, k], figures.classes[:, k])
        yield ClassDelta(delta=100 * (own.ap50_95 - theirs.ap50_95), interval=interval)


def _status(
    run: MeasuredRun, failed: bool, *, is_reference: bool
) -> Literal["passed", "failed", "skipped", "reference"]:
    if run.skipped:
        return "skipped"
    if failed:
        return "failed"
    # A model compared with itself passes any gate: that is no verdict.
    return "reference" if is_reference else "passed"


def unopened_rows(bundle: Bundle, max_drop: float | None) -> Iterator[AccuracyRow]:
    """Skipped rows for the artifacts that no runtime of this version opens.

    Args:
        bundle: whose artifacts.
        max_drop: limit that the user set, points.
    """
    for artifact, reason in unopened(bundle):
        yield AccuracyRow(
            artifact=artifact.id,
            sha256=artifact.files.get(artifact.path, ""),
            runtime="",
            precision=artifact.precision,
            status="skipped",
            max_drop=max_drop_of(bundle, artifact, artifact.precision, max_drop).points,
            reasons=(reason,),
        )
