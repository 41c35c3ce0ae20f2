"""Chooses the score threshold of each class of a model on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.threshold_report import (
    ClassThreshold,
    ScoreRange,
    ThresholdReport,
)
from ghost_deploy.core.progress import Progress
from ghost_deploy.core.thresholds import ChosenThresholds
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.average_precision import ClassTable
from ghost_deploy.judge.accuracy.bootstrap import CONFIDENCE, RESAMPLES, Resampler
from ghost_deploy.judge.accuracy.measure import measure_with
from ghost_deploy.judge.accuracy.threshold_search import (
    LEAST_SCORE,
    ScoreSteps,
    ThresholdMetric,
    choose_step,
    f1_of,
    raw_curve,
    resampled,
)
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.open_detector import judged_runs, open_detector
from ghost_deploy.processing.postprocess import Postprocessor
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import PlannedRun

LEAST_OBJECTS = 20
"""A class with fewer labelled objects keeps the default: one object would move recall by more than
5 points."""


@dataclass(frozen=True)
class _Choice:
    """What the classes are judged with."""

    metric: ThresholdMetric
    sampler: Resampler
    default: float

    def of_class(self, name: str, table: ClassTable) -> ClassThreshold:
        """The threshold of one class."""
        boxes = int(table.objects.sum())
        if not boxes:
            return ClassThreshold(
                name=name, boxes=0, conf=self.default, reason="no labelled object"
            )
        steps = ScoreSteps.of(table)
        ones = np.ones((1, len(table.objects)), np.int64)
        precision, recall = steps.figures(ones)
        curve = raw_curve(precision[0], recall[0])
        (step,) = choose_step(self.metric, precision, recall).tolist()
        reason = self._reason(boxes, step, precision[0], recall[0])
        if reason:
            known = ClassThreshold(
                name=name, boxes=boxes, conf=self.default, reason=reason, curve=curve
            )
            return self._at_default(known, steps, precision[0], recall[0])
        conf, *others = self._ranges(steps, step)
        return ClassThreshold(
            name=name,
            boxes=boxes,
            conf=float(steps.conf[step]),
            interval=conf,
            precision=float(precision[0, step]),
            recall=float(recall[0, step]),
            f1=float(f1_of(precision, recall)[0, step]),
            precision_interval=others[0],
            recall_interval=others[1],
            curve=curve,
        )

    def _reason(
        self, boxes: int, step: int, precision: NDArray[np.float64], recall: NDArray[np.float64]
    ) -> str:
        """Why nothing can be chosen; empty if it can."""
        if boxes < LEAST_OBJECTS:
            return f"{boxes} labelled objects, at least {LEAST_OBJECTS} are needed"
        if step >= 0:
            return ""
        if self.metric.kind == "f1" or not len(recall):
            return "the model finds none of the objects"
        best = (precision if self.metric.kind == "precision" else recall).max()
        return f"{self.metric} is not reached, the most is {best:.3f}"

    def _at_default(
        self,
        known: ClassThreshold,
        steps: ScoreSteps,
        precision: NDArray[np.float64],
        recall: NDArray[np.float64],
    ) -> ClassThreshold:
        """With the figures of the default threshold."""
        step = int((steps.score > self.default).sum()) - 1
        if step < 0:
            return replace(known, recall=0.0)
        p, r = precision[step], recall[step]
        f1 = float(f1_of(p[None], r[None])[0])
        return replace(known, precision=float(p), recall=float(r), f1=f1)

    def _ranges(self, steps: ScoreSteps, step: int) -> list[ScoreRange | None]:
        """Those of the threshold, of precision and of recall."""
        found = resampled(steps, self.metric, step, self.sampler.weights)
        tail = (1 - CONFIDENCE) / 2
        ranges: list[ScoreRange | None] = []
        for column in found.T:
            usable = column[~np.isnan(column)]
            low, high = np.quantile(usable, (tail, 1 - tail)) if usable.size else (0.0, 0.0)
            ranges.append(ScoreRange(low=float(low), high=float(high)) if usable.size else None)
        return ranges


def choose_thresholds(
    bundle: Bundle,
    dataset: DataSet,
    run: PlannedRun,
    metric: str,
    options: RuntimeOptions | None = None,
    map_classes: bool = False,
    *,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> ThresholdReport:
    """Choose the threshold of each class.

    The model is run as `infer` runs it: the best class of an anchor, with the NMS and the number of
    detections of its description; a detection is right if its IoU with an object of its class,
    which no better one has, is 0.5 or more.

    Args:
        bundle: whose spec gives the default, which classes with too few objects keep.
        dataset: labelled images.
        run: what is measured.
        metric: see `ThresholdMetric`.
        options: device and threads.
        map_classes: match the classes of the data set with those of the model by name.
        resamples: of the bootstrap.
        progress: called before each image.
        now: the date of the choice; the present by default.

    Raises:
        UsageError: there is no such metric.
        InputError: the classes are not the model's, or no object is labelled.
        BackendError: the artifact fails.
    """
    wanted = ThresholdMetric.parse(metric)
    data = dataset.for_model(bundle.spec.class_names, by_name=map_classes)
    with open_detector(bundle, run, options or RuntimeOptions()) as detector:
        tables = _tables(detector, data, progress)
    choice = _Choice(wanted, Resampler(len(data.images), resamples), bundle.spec.thresholds.conf)
    pairs = zip(bundle.spec.class_names, tables, strict=True)
    classes = tuple(choice.of_class(name, table) for name, table in pairs)
    facts = data.facts()
    moment = now or datetime.now(timezone.utc)
    chosen = ChosenThresholds(
        conf=tuple(each.conf for each in classes),
        kept=tuple(i for i, each in enumerate(classes) if each.reason),
        metric=str(wanted),
        data=f"{facts.name} ({facts.split})" if facts.split else facts.name,
        fingerprint=facts.fingerprint,
        images=facts.images,
        boxes=sum(facts.boxes.values()),
        run=run.label,
        date=moment.isoformat(timespec="seconds"),
    )
    return ThresholdReport(
        chosen=chosen,
        default=choice.default,
        classes=classes,
        confidence=CONFIDENCE,
        resamples=resamples,
    )


def with_thresholds(
    report: AccuracyReport,
    bundle: Bundle,
    dataset: DataSet,
    metric: str,
    runtimes: Sequence[str] | None,
    precisions: Sequence[str] | None,
    **settings: Any,
) -> AccuracyReport:
    """The report with thresholds chosen on its first run that did not fail, if there is one.

    That is the most exact one that runs here.

    Args:
        report: of `run_accuracy`.
        bundle, runtimes, precisions: that it was given.
        dataset, metric, settings: as in `choose_thresholds`.
    """
    runs = judged_runs(bundle, runtimes, precisions)
    for run, row in zip(runs, report.rows, strict=False):
        if row.status in ("passed", "reference"):
            chosen = choose_thresholds(bundle, dataset, run, metric, **settings)
            return replace(report, thresholds=chosen)
    return report


def _tables(detector: Detector, data: DataSet, progress: Progress | None) -> list[ClassTable]:
    """The matches of the detections that `infer` would give with a low threshold."""
    spec = detector.spec
    postprocess = Postprocessor(spec)
    thresholds = replace(spec.thresholds, conf=LEAST_SCORE)

    def detect(images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        feeds, letterboxes = detector.preprocess(images)
        return postprocess(detector.runtime.run(feeds), letterboxes, thresholds)

    step = spec.input.batch[0]
    own = data.for_model(spec.class_names)
    return measure_with(detect, own, "", step=step, progress=progress, label="thresholds").tables
