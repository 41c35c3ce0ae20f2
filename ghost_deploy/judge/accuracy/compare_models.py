"""Accuracy of a new model against an old one, paired on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.accuracy import AccuracyReport, AccuracyRow, Reference
from ghost_deploy.core.evidence.comparison import ComparedModel
from ghost_deploy.core.progress import Progress
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.accuracy_rows import (
    AccuracyFigures,
    differences,
    lost_too_much,
)
from ghost_deploy.judge.accuracy.bootstrap import CONFIDENCE, RESAMPLES, Resampler
from ghost_deploy.judge.accuracy.choose_hard_images import ImageDetections, hard_images
from ghost_deploy.judge.accuracy.common_classes import CommonClasses
from ghost_deploy.judge.accuracy.measure import measure_with, protocol_of, validation_detect
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.report_facts import tools_of


@dataclass(frozen=True)
class OpenModel:
    """A model that is compared: what it is, and a detector of it.

    Attributes:
        facts: for the report.
        detector: at the size of its spec; its thresholds decide which boxes are shown.
    """

    facts: ComparedModel
    detector: Detector


@dataclass(frozen=True)
class ModelComparison:
    """Measures models on the same images, in terms of the same classes.

    Attributes:
        data: the images, with the labels of the common classes.
        common: the classes.
        resamples: of the bootstrap.
        progress: called before each image.
    """

    data: DataSet
    common: CommonClasses
    resamples: int = RESAMPLES
    progress: Progress | None = None

    def run(self, old: OpenModel, new: OpenModel, max_drop: float) -> AccuracyReport:
        """Measure both, the old one first, and judge what was lost.

        Args:
            old, new: the models.
            max_drop: the largest loss of mAP50-95 that passes, points.

        Raises:
            InputError: no object of the common classes is labelled.
            ImageError: an image cannot be read.
            BackendError: a model fails.
        """
        sampler = Resampler(len(self.data.images), self.resamples)
        reference = self._figures(old, sampler, "old")
        figures = self._figures(new, sampler, "new")
        row = _row(new, reference, figures, max_drop)
        facts = self.data.facts()
        return AccuracyReport(
            model=new.facts.name,
            checkpoint=new.detector.spec.name,
            checkpoint_sha256=new.detector.spec.source_sha256,
            data=facts,
            reference=Reference(name=old.facts.label, kind="artifact", accuracy=reference.accuracy),
            rows=(row,),
            resamples=self.resamples,
            confidence=CONFIDENCE,
            recorded=None,
            tools=tools_of([row], pycocotools=version("pycocotools")),
            conf=old.detector.thresholds.least_conf,
            hard_images=hard_images(self.data, reference.detections, {0: figures.detections}),
        )

    def _figures(self, model: OpenModel, sampler: Resampler, label: str) -> AccuracyFigures:
        detector, shown = model.detector, list[ImageDetections]()
        thresholds = detector.thresholds
        names = detector.spec.class_names
        limits = thresholds.class_conf or (thresholds.conf,) * len(names)
        by_name = dict(zip(names, limits, strict=True))
        same = names == self.common.names
        own = limits if same else tuple(by_name[name] for name in self.common.names)

        def collect(size_hw: tuple[int, int], found: Detections) -> None:
            kept = [row for row, k in enumerate(found.class_id) if found.score[row] > own[k]]
            shown.append(ImageDetections(size_hw, found[kept]))

        measured = measure_with(
            self.common.detect(validation_detect(detector), names),
            self.data,
            protocol_of(detector.spec),
            step=detector.spec.input.batch[0],
            progress=self.progress,
            label=label,
            on_image=collect,
        )
        return AccuracyFigures(measured.accuracy, sampler.classes(measured.tables), shown)


def _row(
    new: OpenModel, reference: AccuracyFigures, figures: AccuracyFigures, max_drop: float
) -> AccuracyRow:
    delta, interval, classes = differences(reference, figures)
    reasons = lost_too_much(delta, max_drop)
    info, facts = new.detector.runtime.info, new.facts
    return AccuracyRow(
        artifact=facts.artifact,
        sha256=facts.sha256,
        runtime=facts.runtime,
        precision=facts.precision,
        status="failed" if reasons else "passed",
        max_drop=max_drop,
        reasons=reasons,
        accuracy=figures.accuracy,
        delta=delta,
        interval=interval,
        classes=classes,
        device=info.device,
        version=info.version,
        compute=info.compute,
        notes=info.notes,
    )
