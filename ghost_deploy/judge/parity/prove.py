"""Parity: is every artifact of a bundle the model that was trained?

One image after another goes through the shared preprocessing once; the PyTorch module, unfused
as it was loaded, and every artifact on every runtime then run on that very tensor. Raw outputs
and detections are compared image by image, so that memory does not grow with their number.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.parity import ParityBasis, ParityReport, ParityRow
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.candidates import candidates
from ghost_deploy.judge.parity.candidate_run import Run
from ghost_deploy.judge.parity.float64_check import SecondLook
from ghost_deploy.judge.parity.gate import gate_for
from ghost_deploy.judge.parity.inputs import Picture, demo_pictures, file_pictures
from ghost_deploy.judge.parity.reference import open_exact, open_reference
from ghost_deploy.judge.parity.stages import Truth
from ghost_deploy.runtimes import RUNTIMES, RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.loading import LoadedCheckpoint

__all__ = ["ParityReport", "Progress", "prove", "run_parity"]

SEMANTICS = "Ultralytics 8.4.190"
"""Whose arithmetic the network, the pre- and the post-processing follow."""

MIN_IMAGES = 16
MIN_DETECTIONS = 200
"""With fewer, one lost detection is more than the 0.5 % that the fp16 gate allows."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many images are done, and how many there are."""


def prove(
    loaded: LoadedCheckpoint,
    bundle: Bundle,
    images: Sequence[Path] | None = None,
    *,
    options: RuntimeOptions | None = None,
    progress: Progress | None = None,
) -> tuple[Bundle, ParityReport]:
    """Compare every artifact and put the verdict into the bundle's evidence, not yet saved.

    Arguments and errors are those of `run_parity`.
    """
    report = run_parity(loaded, bundle, images, options=options, progress=progress)
    return bundle.with_evidence(report), report


def run_parity(
    loaded: LoadedCheckpoint,
    bundle: Bundle,
    images: Sequence[Path] | None = None,
    *,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    options: RuntimeOptions | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare the artifacts of a bundle with the PyTorch module.

    Args:
        loaded: the checkpoint; its module is the reference and is not changed.
        bundle: whose artifacts are compared, at the size and the thresholds of its spec.
        images: image files; the demo scenes, which are weak evidence, when None.
        runtimes: names from the runtimes table; all that can open an artifact when None.
        precisions: that the models are run in; all that the runtimes know when None.
        options: device and threads; `precision` is set for each run.
        progress: told before each image and at the end.

    Returns:
        The report. What this machine cannot run is listed as skipped; a run that fails or
        breaks is listed as failed. It is passed only if something ran and all of it passed.

    Raises:
        UsageError: no image, an unknown runtime or precision, or nothing to compare.
        ImageError: an image cannot be read.
        BundleError: an artifact is not the file that was written.
        UnavailableError: a runtime or precision was asked for by name and is not here.
        BackendError: the checkpoint's own outputs are not finite numbers.
    """
    plan = candidates(bundle, runtimes, precisions)
    sizes = _sizes(bundle.spec.input)
    found = demo_pictures() if images is None else file_pictures(images)
    pictures = [
        replace(picture, size_hw=sizes[number % len(sizes)]) for number, picture in enumerate(found)
    ]
    with ExitStack() as stack:
        reference = stack.enter_context(open_reference(loaded, bundle.spec))
        runs = [
            stack.enter_context(Run(bundle, candidate, options or RuntimeOptions()))
            for candidate in plan
        ]
        detections = _compare(reference, runs, pictures, bundle.spec, progress or _silent)
        second = SecondLook(
            reference,
            lambda: stack.enter_context(open_exact(loaded, bundle.spec)),
            pictures,
            bundle.spec.thresholds.conf,
        )
        rows = tuple(run.row(reference, pictures, runs, second) for run in runs)
        rows += tuple(_unopened(bundle)) if runtimes is None else ()
        info = reference.runtime.info
    return ParityReport(
        model=bundle.spec.name,
        checkpoint=loaded.source.file,
        checkpoint_sha256=loaded.source.sha256,
        reference=f"eager (PyTorch {info.version}) on {info.device} in fp32, unfused",
        semantics=SEMANTICS,
        sizes_hw=sizes,
        thresholds=bundle.spec.thresholds,
        rows=rows,
        evidence=_evidence(len(pictures), detections, demo=images is None),
        images=tuple(picture.ref for picture in pictures),
        tools=_tools(rows, info.version),
        warnings=_warnings(loaded, bundle),
    )


def _compare(
    reference: Detector,
    runs: Sequence[Run],
    pictures: Sequence[Picture],
    spec: ModelSpec,
    progress: Progress,
) -> int:
    """Compare every run on every picture; the number of the reference's detections."""
    detections = 0
    for number, picture in enumerate(pictures):
        progress(f"comparing {picture.name}", number, len(pictures))
        truth = Truth.of(reference, picture.read(), picture.size_hw)
        detections += int((truth.detections.score > spec.thresholds.conf).sum())
        for run in runs:
            run.compare(picture.name, truth)
    progress("judging", len(pictures), len(pictures))
    return detections


def _silent(what: str, done: int, total: int) -> None:
    """No progress was asked for."""


def _sizes(spec: InputSpec) -> tuple[tuple[int, int], ...]:
    """The usual size, and of a dynamic graph the ends of its range: an anchor grid that was
    frozen by mistake does not go unseen."""
    return tuple(dict.fromkeys((spec.size_hw, spec.min_hw, spec.max_hw)))


def _unopened(bundle: Bundle) -> Iterator[ParityRow]:
    """Artifacts that no runtime of this version opens: listed, so that nobody takes them for
    proved."""
    formats = {row.format for row in RUNTIMES.values()}
    for artifact in bundle.artifacts:
        if artifact.format not in formats:
            yield ParityRow(
                artifact=artifact.id,
                sha256=artifact.files.get(artifact.path, ""),
                runtime="",
                precision=artifact.precision,
                status="skipped",
                gate=gate_for(artifact.precision),
                reasons=(f"no runtime of this version opens {artifact.format}",),
            )


def _evidence(images: int, detections: int, *, demo: bool) -> ParityBasis:
    few = images < MIN_IMAGES or detections < MIN_DETECTIONS
    counted = f"{_count(images, 'image')} with {_count(detections, 'detection')}"
    sentence = f"Compared on {counted}"
    if demo:
        sentence = (
            f"Weak evidence: compared on {_count(images, 'demo scene')} with "
            f"{_count(detections, 'detection')}, not on pictures that this model was made for. "
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
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _tools(rows: Sequence[ParityRow], torch_version: str) -> dict[str, str]:
    tools = {
        "ghost-deploy": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "torch": torch_version,
    }
    return tools | {row.runtime: row.version for row in rows if row.version}


def _warnings(loaded: LoadedCheckpoint, bundle: Bundle) -> tuple[str, ...]:
    made_from, own = bundle.document.source, loaded.source
    if made_from.sha256 == own.sha256:
        return ()
    return (
        f"the bundle was made from {made_from.file} ({made_from.sha256[:12]}), "
        f"the reference is {own.file} ({own.sha256[:12]})",
    )
