"""Accuracy of the artifacts of a bundle on labelled images, compared with the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.core.evidence.accuracy import AccuracyReport, Recorded, Reference
from ghost_deploy.core.evidence.shown_boxes import HardImage
from ghost_deploy.core.progress import Progress
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.accuracy_rows import (
    AccuracyFigures,
    MeasuredRun,
    row_of,
    unopened_rows,
)
from ghost_deploy.judge.accuracy.bootstrap import CONFIDENCE, RESAMPLES, Resampler
from ghost_deploy.judge.accuracy.choose_hard_images import ImageDetections, hard_images
from ghost_deploy.judge.accuracy.max_drop import max_drop_of
from ghost_deploy.judge.accuracy.measure import measure
from ghost_deploy.judge.accuracy.recorded import METRIC, compare_recorded, measure_as_trained
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.open_detector import BROKEN, judged_runs, open_detector
from ghost_deploy.judge.parity.pytorch_reference import open_reference
from ghost_deploy.judge.report_facts import other_checkpoint, tools_of
from ghost_deploy.processing.slices import Slicing
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.kserve.protocol import ServerAwayError
from ghost_deploy.runtimes.run_plan import PlannedRun, plan_runs

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.fork.fork_checkpoint import AnyCheckpoint


@dataclass(frozen=True)
class _Measurement:
    """What all models are measured with."""

    bundle: Bundle
    data: DataSet
    options: RuntimeOptions
    sampler: Resampler
    progress: Progress | None
    slicing: Slicing | None = None

    def figures(self, detector: Detector, label: str) -> AccuracyFigures:
        conf = self.bundle.spec.thresholds.conf
        detections: list[ImageDetections] = []

        def collect(size_hw: tuple[int, int], found: Detections) -> None:
            detections.append(ImageDetections(size_hw, found[found.score > conf]))

        rules = self.bundle.spec
        measured = measure(detector, self.data, self.progress, label, collect, rules, self.slicing)
        return AccuracyFigures(measured.accuracy, self.sampler.classes(measured.tables), detections)

    def run(self, plan: PlannedRun) -> MeasuredRun:
        try:
            with open_detector(self.bundle, plan, self.options) as detector:
                info = detector.runtime.info
                return MeasuredRun(plan, self.figures(detector, _one_word(plan)), info)
        except UnavailableError as error:
            if plan.named:
                raise
            return MeasuredRun(plan, skipped=str(error))
        except ServerAwayError:
            raise
        except BROKEN as error:
            return MeasuredRun(plan, broken=str(error))


def run_accuracy(
    bundle: Bundle,
    dataset: DataSet,
    *,
    loaded: AnyCheckpoint | None = None,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    options: RuntimeOptions | None = None,
    max_drop: float | None = None,
    map_classes: bool = False,
    resamples: int = RESAMPLES,
    slicing: Slicing | None = None,
    local: Bundle | None = None,
    progress: Progress | None = None,
) -> AccuracyReport:
    """Measure the artifacts of a bundle and judge their losses.

    Args:
        bundle: whose artifacts are measured, at the size of its spec.
        dataset: labelled images.
        loaded: the checkpoint at the size it was trained at: its module is the reference.
            Default: the first fp32 artifact that runs here takes its place.
        runtimes: names from the runtimes table; default: all.
        precisions: of the runs; default: all.
        options: device and threads; `precision` is set for each run.
        max_drop: largest loss of mAP50-95 in points; default: that of `max_drop_of`.
        map_classes: match the classes of the data set with those of the model by name.
        resamples: of the bootstrap.
        slicing: also look into slices of each image.
        local: where a server runs `bundle`, the bundle whose files take the checkpoint's place:
            what a server gives is not compared with itself.
        progress: called before each image.

    Returns:
        The report. Runs that are not possible on this machine are listed as skipped, runs that
        lose too much or break as failed. It is passed only if something ran and nothing failed.

    Raises:
        InputError: the classes are not the model's, or no object is labelled.
        UsageError: unknown runtime or precision, or nothing to measure.
        ImageError: an image cannot be read.
        BundleError: a file of an artifact is missing or was changed.
        UnavailableError: a runtime or precision was named and is not on this machine.
        ServerAwayError: the server that runs the model does not answer any more.
    """
    data = dataset.for_model(bundle.spec.class_names, by_name=map_classes)
    plan = judged_runs(bundle, runtimes, precisions)
    limits = [max_drop_of(bundle, each.artifact, each.precision, max_drop) for each in plan]
    sampler = Resampler(len(data.images), resamples)
    measurement = _Measurement(
        bundle, data, options or RuntimeOptions(), sampler, progress, slicing
    )
    runs = [measurement.run(each) for each in plan]
    found = (
        _eager(measurement, loaded)
        if loaded
        else _first_fp32(_on_this_machine(measurement, local), () if local else runs)
    )
    reference, figures = found if found else (None, None)
    rows = [row_of(run, figures, limit) for run, limit in zip(runs, limits, strict=True)]
    source = bundle.document.source
    return AccuracyReport(
        model=bundle.spec.name,
        checkpoint=source.file,
        checkpoint_sha256=source.sha256,
        data=data.facts(),
        reference=reference,
        rows=(*rows, *unopened_rows(bundle, max_drop)),
        resamples=resamples,
        confidence=CONFIDENCE,
        recorded=_recorded(measurement, loaded, reference),
        tools=tools_of(rows, pycocotools=version("pycocotools")),
        conf=bundle.spec.thresholds.conf,
        hard_images=_hard_images(data, runs, figures),
        warnings=tuple(_warnings(bundle, loaded, reference)),
    )


def _eager(measurement: _Measurement, loaded: AnyCheckpoint) -> tuple[Reference, AccuracyFigures]:
    """The PyTorch module itself."""
    with open_reference(loaded, measurement.bundle.spec) as detector:
        name = f"eager (PyTorch {detector.runtime.info.version}) in fp32"
        figures = measurement.figures(detector, "checkpoint/eager")
    return Reference(name=name, kind="checkpoint", accuracy=figures.accuracy), figures


def _one_word(plan: PlannedRun) -> str:
    """Label for `progress`, which distinguishes steps by their first word."""
    own = plan.precision == plan.artifact.precision
    words = (plan.artifact.id, plan.row.name, "" if own else plan.precision)
    return "/".join(filter(None, words))


def _first_fp32(
    measurement: _Measurement, runs: Sequence[MeasuredRun]
) -> tuple[Reference, AccuracyFigures] | None:
    """The first fp32 artifact that runs here, among all of the bundle."""
    if all(artifact.precision != "fp32" for artifact in measurement.bundle.artifacts):
        return None
    others = (
        measurement.run(replace(plan, named=False))
        for plan in plan_runs(measurement.bundle, None, ["fp32"])
        if plan.label not in {run.plan.label for run in runs}
    )
    for run in chain(runs, others):
        if run.figures and run.plan.precision == "fp32":
            name, accuracy = run.plan.label, run.figures.accuracy
            return Reference(name=name, kind="artifact", accuracy=accuracy), run.figures
    return None


def _on_this_machine(measurement: _Measurement, local: Bundle | None) -> _Measurement:
    if local is None:
        return measurement
    return replace(measurement, bundle=local, options=replace(measurement.options, server=None))


def _hard_images(
    data: DataSet, runs: Sequence[MeasuredRun], reference: AccuracyFigures | None
) -> tuple[HardImage, ...]:
    if reference is None:
        return ()
    others = {
        row: run.figures.detections
        for row, run in enumerate(runs)
        if run.figures and run.figures is not reference
    }
    return hard_images(data, reference.detections, others)


def _recorded(
    measurement: _Measurement, loaded: AnyCheckpoint | None, reference: Reference | None
) -> Recorded | None:
    source = loaded.source if loaded else measurement.bundle.document.source
    metrics = source.metrics
    if METRIC not in metrics or reference is None or measurement.slicing is not None:
        return None
    if loaded and loaded.source.trained_with.startswith("ultralytics"):
        value, how = measure_as_trained(
            loaded, measurement.data, measurement.progress, "checkpoint/as-trained"
        )
        return compare_recorded(metrics, value, how, exact=True)
    accuracy = reference.accuracy
    here = measurement.bundle.spec.input.size_hw
    sizes = (here, source.trained_hw) if source.trained_hw else None
    return compare_recorded(metrics, accuracy.map50_95, accuracy.protocol, exact=False, sizes=sizes)


def _warnings(
    bundle: Bundle, loaded: AnyCheckpoint | None, reference: Reference | None
) -> Iterator[str]:
    yield from other_checkpoint(loaded, bundle)
    if reference and reference.kind == "artifact":
        yield (
            f"no checkpoint was given: differences are to {reference.name}, and what that "
            "export itself lost is not seen"
        )
