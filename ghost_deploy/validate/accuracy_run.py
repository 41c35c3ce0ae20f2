"""Every artefact of a bundle on labelled images, beside the network that was trained."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy._version import __version__
from ghost_deploy.bundle import Bundle
from ghost_deploy.detector import Detector
from ghost_deploy.errors import BackendError, ShapeError, SpecError, UnavailableError
from ghost_deploy.runtimes import RUNTIMES, RuntimeInfo, RuntimeOptions
from ghost_deploy.validate.accuracy import Accuracy, Progress, measure
from ghost_deploy.validate.accuracy_report import (
    AccuracyReport,
    AccuracyRow,
    Reference,
    max_drop_for,
)
from ghost_deploy.validate.bootstrap import CONFIDENCE, RESAMPLES, Resampler
from ghost_deploy.validate.candidates import Candidate, candidates, open_candidate
from ghost_deploy.validate.dataset import DataSet
from ghost_deploy.validate.recorded import (
    METRIC,
    Recorded,
    compare_recorded,
    measure_as_trained,
)
from ghost_deploy.validate.reference import open_reference

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.load import Loaded

__all__ = ["run_accuracy"]

_BROKEN = (BackendError, ShapeError, SpecError)
"""What a damaged or wrong artefact raises when it is opened, run or decoded."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Figures:
    """What was measured of one model: its accuracy, and its mAP on each resample."""

    accuracy: Accuracy
    maps: NDArray[np.float64]


@dataclass(frozen=True)
class _Run:
    """A candidate that was measured, or why it was not."""

    candidate: Candidate
    figures: _Figures | None = None
    info: RuntimeInfo | None = None
    skipped: str = ""
    broken: str = ""


@dataclass(frozen=True)
class _Bench:
    """What every model is measured with."""

    bundle: Bundle
    data: DataSet
    options: RuntimeOptions
    sampler: Resampler
    progress: Progress | None

    def figures(self, detector: Detector, label: str) -> _Figures:
        measured = measure(detector, self.data, self.progress, label)
        return _Figures(measured.accuracy, self.sampler.maps(measured.tables))

    def run(self, candidate: Candidate) -> _Run:
        try:
            with open_candidate(self.bundle, candidate, self.options) as detector:
                info = detector.runtime.info
                return _Run(candidate, self.figures(detector, _one_word(candidate)), info)
        except UnavailableError as error:
            if candidate.named:
                raise
            return _Run(candidate, skipped=str(error))
        except _BROKEN as error:
            return _Run(candidate, broken=str(error))


def run_accuracy(
    bundle: Bundle,
    dataset: DataSet,
    *,
    loaded: Loaded | None = None,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    options: RuntimeOptions | None = None,
    max_drop: float | None = None,
    map_classes: bool = False,
    resamples: int = RESAMPLES,
    progress: Progress | None = None,
) -> AccuracyReport:
    """Measure the artefacts of a bundle and judge what they lost.

    Args:
        bundle: whose artefacts are measured, at the size of its spec.
        dataset: labelled images.
        loaded: the checkpoint at the size it was trained at: its module is the reference. When
            None, the first fp32 artefact that runs here stands in for it.
        runtimes: names from the runtimes table; all that can open an artefact when None.
        precisions: that the models are run in; all that the runtimes know when None.
        options: device and threads; `precision` is set for each run.
        max_drop: largest loss of mAP50-95 in points, instead of `MAX_DROP` of the precision.
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
        BundleError: an artefact is not the file that was written.
        UnavailableError: a runtime or precision was asked for by name and is not here.
    """
    data = dataset.for_model(bundle.spec.class_names, by_name=map_classes)
    plan = candidates(bundle, runtimes, precisions)
    bars = [max_drop_for(each.precision) if max_drop is None else max_drop for each in plan]
    sampler = Resampler(len(data.images), resamples)
    bench = _Bench(bundle, data, options or RuntimeOptions(), sampler, progress)
    runs = [bench.run(candidate) for candidate in plan]
    found = _eager(bench, loaded) if loaded else _stand_in(bench, runs)
    reference, figures = found if found else (None, None)
    rows = [_row(run, figures, bar) for run, bar in zip(runs, bars, strict=True)]
    source = bundle.document.source
    return AccuracyReport(
        model=bundle.spec.name,
        checkpoint=source.file,
        checkpoint_sha256=source.sha256,
        data=data.facts(),
        reference=reference,
        rows=(*rows, *_unopened(bundle, max_drop)),
        resamples=resamples,
        confidence=CONFIDENCE,
        recorded=_recorded(bench, loaded, reference),
        tools=_tools(rows),
        warnings=tuple(_warnings(bundle, loaded, reference)),
    )


def _eager(bench: _Bench, loaded: Loaded) -> tuple[Reference, _Figures]:
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


def _stand_in(bench: _Bench, runs: Sequence[_Run]) -> tuple[Reference, _Figures] | None:
    """The first fp32 artefact that runs here, also one that was not asked for."""
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


def _row(run: _Run, reference: _Figures | None, bar: float) -> AccuracyRow:
    artifact, info, figures = run.candidate.artifact, run.info, run.figures
    reasons: tuple[str, ...] = tuple(filter(None, (run.skipped, run.broken)))
    delta, interval = None, None
    if figures and reference and figures is not reference:
        delta = 100 * (figures.accuracy.map50_95 - reference.accuracy.map50_95)
        interval = Resampler.interval(reference.maps, figures.maps)
        if delta < -bar - _ROUNDING:
            reasons = (f"lost {-delta:.2f} points of mAP50-95, at most {bar:g} allowed",)
    elif figures and not reference:
        reasons = ("there is nothing to compare with: no checkpoint and no fp32 artefact",)
    return AccuracyRow(
        artifact=artifact.id,
        sha256=artifact.files.get(artifact.path, ""),
        runtime=run.candidate.runtime,
        precision=run.candidate.precision,
        status=_status(
            run, bool(reasons), is_reference=reference is not None and figures is reference
        ),
        max_drop=bar,
        reasons=reasons,
        accuracy=figures.accuracy if figures else None,
        delta=delta,
        interval=interval,
        device=info.device if info else "",
        version=info.version if info else "",
        compute=info.compute if info else "",
        notes=info.notes if info else (),
    )


def _status(
    run: _Run, blamed: bool, *, is_reference: bool
) -> Literal["passed", "failed", "skipped", "reference"]:
    if run.skipped:
        return "skipped"
    if blamed:
        return "failed"
    # A model held against itself passes any gate: that is no verdict.
    return "reference" if is_reference else "passed"


def _unopened(bundle: Bundle, max_drop: float | None) -> Iterator[AccuracyRow]:
    """Artefacts that no runtime of this version opens, so that nobody takes them for judged."""
    formats = {row.format for row in RUNTIMES.values()}
    for artifact in bundle.artifacts:
        if artifact.format not in formats:
            yield AccuracyRow(
                artifact=artifact.id,
                sha256=artifact.files.get(artifact.path, ""),
                runtime="",
                precision=artifact.precision,
                status="skipped",
                max_drop=max_drop_for(artifact.precision) if max_drop is None else max_drop,
                reasons=(f"no runtime of this version opens {artifact.format}",),
            )


def _recorded(bench: _Bench, loaded: Loaded | None, reference: Reference | None) -> Recorded | None:
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


def _warnings(bundle: Bundle, loaded: Loaded | None, reference: Reference | None) -> Iterator[str]:
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
