"""Every artifact of a bundle on labelled images, beside the network that was trained."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import BackendError, ShapeError, SpecError, UnavailableError
from ghost_deploy.core.evidence.accuracy import AccuracyReport, AccuracyRow, Recorded, Reference
from ghost_deploy.core.evidence.hard_images import HardImage
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.bootstrap import CONFIDENCE, RESAMPLES, Resampler
from ghost_deploy.judge.accuracy.hard_images import Sight, hard_images
from ghost_deploy.judge.accuracy.max_drop import bar_of
from ghost_deploy.judge.accuracy.measure import Progress, measure
from ghost_deploy.judge.accuracy.recorded import (
    METRIC,
    compare_recorded,
    measure_as_trained,
)
from ghost_deploy.judge.accuracy.rows import Figures, Run, row_of, unopened_rows
from ghost_deploy.judge.candidates import Candidate, candidates, open_candidate
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.parity.reference import open_reference
from ghost_deploy.runtimes import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.loading import LoadedCheckpoint

__all__ = ["run_accuracy"]

_BROKEN = (BackendError, ShapeError, SpecError)
"""What a damaged or wrong artifact raises when it is opened, run or decoded."""


@dataclass(frozen=True)
class _Bench:
    """What every model is measured with."""

    bundle: Bundle
    data: DataSet
    options: RuntimeOptions
    sampler: Resampler
    progress: Progress | None

    def figures(self, detector: Detector, label: str) -> Figures:
        conf = self.bundle.spec.thresholds.conf
        sights: list[Sight] = []

        def watch(size_hw: tuple[int, int], found: Detections) -> None:
            sights.append(Sight(size_hw, found[found.score > conf]))

        measured = measure(detector, self.data, self.progress, label, watch)
        return Figures(measured.accuracy, self.sampler.classes(measured.tables), sights)

    def run(self, candidate: Candidate) -> Run:
        try:
            with open_candidate(self.bundle, candidate, self.options) as detector:
                info = detector.runtime.info
                return Run(candidate, self.figures(detector, _one_word(candidate)), info)
        except UnavailableError as error:
            if candidate.named:
                raise
            return Run(candidate, skipped=str(error))
        except _BROKEN as error:
            return Run(candidate, broken=str(error))


def run_accuracy(
    bundle: Bundle,
    dataset: DataSet,
    *,
    loaded: LoadedCheckpoint | None = None,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    options: RuntimeOptions | None = None,
    max_drop: float | None = None,
    map_classes: bool = False,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> AccuracyReport:
    """Measure the artifacts of a bundle and judge what they lost.

    Args:
        bundle: whose artifacts are measured, at the size of its spec.
        dataset: labelled images.
        loaded: the checkpoint at the size it was trained at: its module is the reference. When
            None, the first fp32 artifact that runs here stands in for it.
        runtimes: names from the runtimes table; all that can open an artifact when None.
        precisions: that the models are run in; all that the runtimes know when None.
        options: device and threads; `precision` is set for each run.
        max_drop: largest loss of mAP50-95 in points, instead of that of `bar_of`.
        map_classes: match the data set's classes with the model's by name.
        resamples: of the bootstrap.
        progress: told before each image.

    Returns:
        The report. What this machine cannot run is listed as skipped; a run that loses too much
        or breaks is listed as failed. It is passed only if something ran and all of it passed.

    Raises:
        InputError: the classes are not the model's, or no object is labelled.
        UsageError: an unknown runtime or precision, or nothing to measure.
        ImageError: an image cannot be read.
        BundleError: an artifact is not the file that was written.
        UnavailableError: a runtime or precision was asked for by name and is not here.
    """
    data = dataset.for_model(bundle.spec.class_names, by_name=map_classes)
    plan = candidates(bundle, runtimes, precisions)
    bars = [bar_of(bundle, each.artifact, each.precision, max_drop) for each in plan]
    sampler = Resampler(len(data.images), resamples)
    bench = _Bench(bundle, data, options or RuntimeOptions(), sampler, progress)
    runs = [bench.run(candidate) for candidate in plan]
    found = _eager(bench, loaded) if loaded else _stand_in(bench, runs)
    reference, figures = found if found else (None, None)
    rows = [row_of(run, figures, bar) for run, bar in zip(runs, bars, strict=True)]
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
        recorded=_recorded(bench, loaded, reference),
        tools=_tools(rows),
        conf=bundle.spec.thresholds.conf,
        hard_images=_hard_images(data, runs, figures),
        warnings=tuple(_warnings(bundle, loaded, reference)),
    )


def _eager(bench: _Bench, loaded: LoadedCheckpoint) -> tuple[Reference, Figures]:
    """The PyTorch module itself."""
    with open_reference(loaded, bench.bundle.spec) as detector:
        name = f"eager (PyTorch {detector.runtime.info.version}) in fp32"
        figures = bench.figures(detector, "checkpoint/eager")
    return Reference(name=name, kind="checkpoint", accuracy=figures.accuracy), figures


def _one_word(candidate: Candidate) -> str:
    """For `progress`, which tells long steps apart by their first word."""
    own = candidate.precision == candidate.artifact.precision
    words = (candidate.artifact.id, candidate.runtime, "" if own else candidate.precision)
    return "/".join(filter(None, words))


def _stand_in(bench: _Bench, runs: Sequence[Run]) -> tuple[Reference, Figures] | None:
    """The first fp32 artifact that runs here, also one that was not asked for."""
    if all(artifact.precision != "fp32" for artifact in bench.bundle.artifacts):
        return None
    others = (
        bench.run(replace(candidate, named=False))
        for candidate in candidates(bench.bundle, None, ["fp32"])
        if candidate.label not in {run.candidate.label for run in runs}
    )
    for run in chain(runs, others):
        if run.figures and run.candidate.precision == "fp32":
            name, accuracy = run.candidate.label, run.figures.accuracy
            return Reference(name=name, kind="artifact", accuracy=accuracy), run.figures
    return None


def _hard_images(
    data: DataSet, runs: Sequence[Run], reference: Figures | None
) -> tuple[HardImage, ...]:
    if reference is None:
        return ()
    others = {
        row: run.figures.sights
        for row, run in enumerate(runs)
        if run.figures and run.figures is not reference
    }
    return hard_images(data, reference.sights, others)


def _recorded(
    bench: _Bench, loaded: LoadedCheckpoint | None, reference: Reference | None
) -> Recorded | None:
    metrics = (loaded.source if loaded else bench.bundle.document.source).metrics
    if METRIC not in metrics or reference is None:
        return None
    if loaded and loaded.source.trained_with.startswith("ultralytics"):
        value, how = measure_as_trained(loaded, bench.data, bench.progress, "checkpoint/as-trained")
        return compare_recorded(metrics, value, how, exact=True)
    accuracy = reference.accuracy
    return compare_recorded(metrics, accuracy.map50_95, accuracy.protocol, exact=False)


def _tools(rows: Sequence[AccuracyRow]) -> dict[str, str]:
    tools = {
        "ghost-deploy": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pycocotools": version("pycocotools"),
    }
    return tools | {row.runtime: row.version for row in rows if row.version}


def _warnings(
    bundle: Bundle, loaded: LoadedCheckpoint | None, reference: Reference | None
) -> Iterator[str]:
    source = bundle.document.source
    if loaded and loaded.source.sha256 != source.sha256:
        yield (
            f"the bundle was made from {source.file} ({source.sha256[:12]}), "
            f"the reference is {loaded.source.file} ({loaded.source.sha256[:12]})"
        )
    if reference and reference.kind == "artifact":
        yield (
            f"no checkpoint was given: differences are to {reference.name}, and what that "
            "export itself lost is not seen"
        )
