"""From the fp32 ONNX file of a bundle to its int8 artifacts, each judged before it is kept."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import onnx

from ghost_deploy._version import __version__
from ghost_deploy.calib.forms import forms_of
from ghost_deploy.calib.images.collection import CalibrationSet, preprocessing_fingerprint
from ghost_deploy.calib.ranges.collect import collect_statistics
from ghost_deploy.calib.search.advice import verdict
from ghost_deploy.calib.search.artifact_writer import ArtifactWriter
from ghost_deploy.calib.search.float_fallback import FloatFallback
from ghost_deploy.calib.search.form_pipeline import FormPipeline
from ghost_deploy.calib.search.int8_builder import Int8Builder
from ghost_deploy.calib.search.protocols import AccuracyJudge, Stopwatch
from ghost_deploy.calib.search.tool_versions import versions
from ghost_deploy.core.bundle import Bundle, BundleWriter, sha256_of
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.int8 import CalibrationFacts, Int8Report
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import InputSpec


@dataclass(frozen=True, kw_only=True)
class Int8Request:
    """What int8 artifacts to make, and from what.

    Attributes:
        bundle: with the float artifacts and the evidence so far.
        source: its fp32 ONNX file.
        images: to calibrate on.
        formats: `onnx` gives the forms of ONNX Runtime and TensorRT, `openvino` its own.
        devices: processors to make them for, names of `export.plan.DEVICES`.
        max_drop: points that may be lost; layers return to float until that holds. None for the
            judge's default, without returning layers.
        repair: also try to correct biases of our own graphs.
        workers: processes that measure in parallel while layers are ranked.
        search: try all variants of each form, and other placements for TensorRT; else the default
            placement of each, from statistics that are collected once.
        speed: time all artifacts of the result.
        seed: of the choice of images, for the record.
        threads: of ONNX Runtime; 0 for its default.
        cache_dir: keeps statistics and measurements between runs; None keeps none.
    """

    bundle: Bundle
    source: Path
    images: CalibrationSet
    formats: tuple[str, ...] = ("onnx", "openvino")
    devices: tuple[str, ...] = ("x86",)
    max_drop: float | None = None
    repair: bool = True
    workers: int = 1
    search: bool = False
    speed: bool = True
    seed: int = 0
    threads: int = 0
    cache_dir: Path | None = None


def make_int8(
    writer: BundleWriter,
    request: Int8Request,
    judge: AccuracyJudge,
    stopwatch: Stopwatch,
    progress: Progress = silent,
) -> tuple[Int8Report, Bundle]:
    """Make, judge and time the int8 artifacts in a writer's folder.

    Args:
        writer: of the bundle; its float artifacts are recorded already.
        request: what to make.
        judge: of accuracy.
        stopwatch: of the runtimes on this machine.
        progress: receives each step.

    Returns:
        The report, and the draft with the report among its evidence, not yet saved.

    Raises:
        UsageError: no form belongs to the formats.
        InputError, ImageError: the model or the images cannot be used.
        ExportError: no recipe of a form worked.
        OSError: the disk refuses; leaving the writer's block makes an ExportError of it.
    """
    report = _make_forms(writer, request, judge, stopwatch, progress)
    bundle = request.bundle
    draft = writer.draft(
        bundle.spec, bundle.document.source, f"ghost-deploy {__version__}", bundle.evidence
    )
    if request.speed:
        rows, doubts = stopwatch.speed_rows(draft)
        report = msgspec.structs.replace(
            report,
            speed=rows,
            machine=stopwatch.machine,
            threads=request.threads,
            speed_warnings=doubts,
        )
    report = msgspec.structs.replace(report, verdict=verdict(report))
    return report, draft.with_evidence(report)


def _make_forms(
    writer: BundleWriter,
    request: Int8Request,
    judge: AccuracyJudge,
    stopwatch: Stopwatch,
    progress: Progress,
) -> Int8Report:
    """The artifacts of all forms; the report has no times and no verdict."""
    forms = forms_of(request.formats, request.devices)
    if not forms:
        raise UsageError(
            "no int8 form belongs to these formats",
            got=f"{', '.join(request.formats)} for {', '.join(request.devices)}",
            expected="onnx; or openvino for x86",
            fix="Name one of those",
        )
    parent = sha256_of(request.source)
    max_drop = judge.default_max_drop if request.max_drop is None else request.max_drop
    with tempfile.TemporaryDirectory(dir=writer.folder) as folder:
        builder = _builder(request, Path(folder), progress)
        keep_limit = judge.keep_limit if request.max_drop is None else None
        artifacts = ArtifactWriter(
            writer, builder, judge, parent, max_drop, request.search, keep_limit
        )
        fallback = None
        if request.max_drop is not None:
            cache = request.cache_dir
            fallback = FloatFallback(
                builder,
                judge,
                stopwatch,
                request.max_drop,
                workers=request.workers,
                journal=cache / "int8" / "measured.jsonl" if cache else None,
                progress=progress,
            )
        pipeline = FormPipeline(
            artifacts, stopwatch, fallback, request.repair, request.search, progress
        )
        results = {form.name: pipeline.make(form) for form in forms}
    return Int8Report(
        model=request.bundle.spec.name,
        parent=parent,
        calibration=calibration_facts(request.images, request.bundle.spec.input, request.seed),
        judged=judge.facts,
        rows=tuple(row for each in results.values() for row in each.rows),
        trials=tuple(trial for each in results.values() for trial in each.trials),
        sensitivity={
            name: each.sensitivity for name, each in results.items() if each.sensitivity is not None
        },
        tools=versions(),
        search=request.search,
    )


def _builder(request: Int8Request, scratch: Path, progress: Progress) -> Int8Builder:
    spec = request.bundle.spec
    statistics = collect_statistics(
        request.source,
        request.images,
        spec.input,
        threads=request.threads,
        cache_dir=request.cache_dir,
        progress=progress,
    )
    return Int8Builder(
        request.source,
        onnx.load(request.source),
        spec,
        request.images,
        statistics.tensors,
        scratch,
        request.threads,
        progress,
    )


def calibration_facts(images: CalibrationSet, spec: InputSpec, seed: int) -> CalibrationFacts:
    """The record of the images that ranges were taken from.

    Args:
        images: that were used.
        spec: the preprocessing.
        seed: of their choice.
    """
    return CalibrationFacts(
        images=len(images),
        fingerprint=images.fingerprint,
        preprocessing=preprocessing_fingerprint(spec),
        seed=seed,
        skipped=tuple(each.name for each in images.skipped),
        duplicates=len(images.duplicates),
        notes=images.notes,
    )
