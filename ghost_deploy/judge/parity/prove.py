"""Parity: do the artifacts of a bundle compute what the trained PyTorch module does?

Each image goes through the shared preprocessing once. The PyTorch module, unfused as it was
loaded, and all artifacts on all runtimes then run on that tensor. Raw outputs and detections are
compared image by image, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.compared_images import ParityBasis
from ghost_deploy.core.evidence.parity import ParityReport, ParityRow
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.open_detector import judged_runs
from ghost_deploy.judge.parity.candidate_run import ParityRun
from ghost_deploy.judge.parity.float64_check import Float64Check
from ghost_deploy.judge.parity.gate import gate_for
from ghost_deploy.judge.parity.inputs import InputImage, demo_images, file_images
from ghost_deploy.judge.parity.pytorch_reference import open_float64, open_reference
from ghost_deploy.judge.parity.stages import ReferenceResult
from ghost_deploy.judge.report_facts import other_checkpoint, tools_of
from ghost_deploy.runtimes.base import RuntimeInfo, RuntimeOptions
from ghost_deploy.runtimes.run_plan import unopened

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.fork.fork_checkpoint import AnyCheckpoint

SEMANTICS = "Ultralytics 8.4.190"
"""Whose arithmetic the network, the pre- and the post-processing follow."""

MIN_IMAGES = 16
MIN_DETECTIONS = 200
"""With fewer, one lost detection is more than the 0.5 % that the fp16 gate allows."""


def run_parity(
    loaded: AnyCheckpoint,
    bundle: Bundle,
    images: Sequence[Path] | None = None,
    *,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    options: RuntimeOptions | None = None,
    progress: Progress | None = None,
    notes: Sequence[str] = (),
) -> ParityReport:
    """Compare the artifacts of a bundle with the PyTorch module.

    Args:
        loaded: the checkpoint; its module is the reference and is not changed.
        bundle: whose artifacts are compared, at the size and the thresholds of its spec.
        images: image files; default: the demo scenes, which are weak evidence.
        runtimes: names from the runtimes table; default: all.
        precisions: of the runs; default: all.
        options: device and threads; `precision` is set for each run.
        progress: called before each image and at the end.
        notes: for the reader of the report, e.g. on images that were left out.

    Returns:
        The report. Runs that are not possible on this machine are listed as skipped, runs that
        miss a limit or break as failed. It is passed only if something ran and nothing failed.

    Raises:
        UsageError: no image, unknown runtime or precision, or nothing to compare.
        ImageError: an image cannot be read.
        BundleError: a file of an artifact is missing or was changed.
        UnavailableError: a runtime or precision was named and is not on this machine.
        BackendError: the outputs of the checkpoint are not finite numbers.
    """
    plan = judged_runs(bundle, runtimes, precisions)
    sizes = _sizes(bundle.spec.input)
    found = demo_images() if images is None else file_images(images)
    inputs = [replace(each, size_hw=sizes[i % len(sizes)]) for i, each in enumerate(found)]
    with ExitStack() as stack:
        reference = stack.enter_context(open_reference(loaded, bundle.spec))
        runs = [
            stack.enter_context(ParityRun(bundle, each, options or RuntimeOptions()))
            for each in plan
        ]
        detections = _compare(reference, runs, inputs, bundle.spec, progress or silent)
        check = Float64Check(
            reference,
            lambda: stack.enter_context(open_float64(loaded, bundle.spec)),
            inputs,
            bundle.spec.thresholds.conf,
        )
        rows = tuple(run.row(reference, inputs, runs, check) for run in runs)
        rows += _unopened_rows(bundle) if runtimes is None else ()
        info = reference.runtime.info
    return ParityReport(
        model=bundle.spec.name,
        checkpoint=loaded.source.file,
        checkpoint_sha256=loaded.source.sha256,
        reference=_named(loaded, info),
        semantics=SEMANTICS,
        sizes_hw=sizes,
        thresholds=bundle.spec.thresholds,
        rows=rows,
        evidence=_basis(len(inputs), detections, demo=images is None),
        images=tuple(image.ref for image in inputs),
        tools=tools_of(rows, torch=info.version),
        warnings=(*other_checkpoint(loaded, bundle), *notes),
    )


def _compare(
    reference: Detector,
    runs: Sequence[ParityRun],
    images: Sequence[InputImage],
    spec: ModelSpec,
    progress: Progress,
) -> int:
    """Compare all runs on all images; returns the number of detections of the reference."""
    detections = 0
    for number, image in enumerate(images):
        progress(f"comparing {image.name}", number, len(images))
        expected = ReferenceResult.of(reference, image.read(), image.size_hw)
        detections += int((expected.detections.score > spec.thresholds.conf).sum())
        for run in runs:
            run.compare(image.name, expected)
    progress("judging", len(images), len(images))
    return detections


def _named(loaded: AnyCheckpoint, info: RuntimeInfo) -> str:
    """What the reference ran on."""
    from ghost_deploy.checkpoints.fork.fork_checkpoint import ForkCheckpoint

    if isinstance(loaded, ForkCheckpoint):
        version = loaded.code.versions.get("torch", info.version)
        return f"the fork's own code (PyTorch {version}) on cpu in fp32"
    return f"eager (PyTorch {info.version}) on {info.device} in fp32, unfused"


def _sizes(spec: InputSpec) -> tuple[tuple[int, int], ...]:
    """The usual size, and of a dynamic graph the ends of its range, where an anchor grid that was
    frozen by mistake shows."""
    return tuple(dict.fromkeys((spec.size_hw, spec.min_hw, spec.max_hw)))


def _unopened_rows(bundle: Bundle) -> tuple[ParityRow, ...]:
    return tuple(
        ParityRow(
            artifact=artifact.id,
            sha256=artifact.files.get(artifact.path, ""),
            runtime="",
            precision=artifact.precision,
            status="skipped",
            gate=gate_for(artifact.precision),
            reasons=(reason,),
        )
        for artifact, reason in unopened(bundle)
    )


def _basis(images: int, detections: int, *, demo: bool) -> ParityBasis:
    few = images < MIN_IMAGES or detections < MIN_DETECTIONS
    counted = f"{_count(images, 'image')} with {_count(detections, 'detection')}"
    sentence = f"Compared on {counted}"
    if demo:
        sentence = (
            f"Weak evidence: compared on {_count(images, 'demo scene')} with "
            f"{_count(detections, 'detection')}, not on images that this model was trained for. "
            "Name some with --images"
        )
    elif few:
        sentence = (
            f"Weak evidence: compared on {counted}; {MIN_IMAGES} images and "
            f"{MIN_DETECTIONS} detections are the least that resolves the gates"
        )
    return ParityBasis(
        source="demo" if demo else "images",
        strength="weak" if demo or few else "good",
        images=images,
        detections=detections,
        sentence=sentence,
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
