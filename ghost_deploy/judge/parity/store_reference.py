"""Stores images and outputs of PyTorch in a bundle, for the self-check on a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle, sha256_of
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.core.evidence.reference import Int8Outputs, ReferenceNote
from ghost_deploy.detector import Detector
from ghost_deploy.judge.bench.read_machine import read_machine
from ghost_deploy.judge.open_detector import BROKEN, open_detector
from ghost_deploy.judge.parity.inputs import InputImage, demo_images, file_images
from ghost_deploy.judge.parity.output_forms import canonical_outputs
from ghost_deploy.judge.parity.pytorch_reference import open_float64, open_reference
from ghost_deploy.judge.parity.stages import ReferenceResult, accepts_size, lowered
from ghost_deploy.judge.parity.stored_reference import (
    FILE,
    StoredImage,
    StoredReference,
    digest,
    read_stored,
)
from ghost_deploy.processing.letterbox import Letterbox
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import PlannedRun, plan_runs
from ghost_deploy.runtimes.table import runtime_row

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.fork.fork_checkpoint import AnyCheckpoint

MIN_IMAGES = 8
"""Images with detections that a check on another machine needs, to say anything."""

CARRIED_FROM = 24
"""Images that those to carry are chosen from, spread evenly over what is there."""

_BUDGET_BYTES = 10 << 20
"""Pixels of all images of the usual size, before compression: eight of 640 x 640."""


def store_reference(
    loaded: AnyCheckpoint, bundle: Bundle, images: Sequence[Path] | None, *, exact: bool = False
) -> Bundle:
    """Write a few images and the outputs of PyTorch into a bundle, which is not saved yet.

    Of the first images, those with the most detections are taken. A dynamic graph gets one more
    at each end of its range.

    Args:
        loaded: the checkpoint.
        bundle: whose folder is written to.
        images: image files; default: the demo scenes.
        exact: compute in float64, for a network that float32 is too coarse for.

    Raises:
        UsageError, ImageError, BackendError: see `run_parity`.
        OSError: the file cannot be written.
    """
    found = demo_images() if images is None else file_images(images)
    with (open_float64 if exact else open_reference)(loaded, bundle.spec) as reference:
        version = reference.runtime.info.version
        name = f"PyTorch {version} in {'float64' if exact else 'float32'}, unfused"
        return _store(reference, bundle, found, source="demo" if images is None else "images",
                      name=name)  # fmt: skip


def ensure_reference(bundle: Bundle, images: Sequence[Path], options: RuntimeOptions) -> Bundle:
    """A bundle whose reference is enough to check int8 artifacts on another machine.

    Where it carries demo scenes, or too few images with detections, images of calibration take
    their place, with the outputs of the fp32 ONNX artifact, which was compared with PyTorch.

    Args:
        bundle: a draft whose folder is written to; it has an fp32 ONNX artifact.
        images: image files of calibration.
        options: device and threads.

    Raises:
        ImageError, BackendError, BundleError: the images or the artifact cannot be used.
        OSError: the file cannot be written.
    """
    note = bundle.evidence.reference
    if note and note.source != "demo" and note.images >= MIN_IMAGES and note.detections:
        return bundle
    artifact = bundle.artifact("onnx", "fp32")
    run = PlannedRun(artifact, runtime_row("ort"), "fp32", named=True)
    with open_detector(bundle, run, options) as reference:
        name = f"{artifact.id} on {reference.runtime.info.runtime} {reference.runtime.info.version}"
        return _store(reference, bundle, file_images(images), source="calibration", name=name)


def store_int8_outputs(bundle: Bundle, options: RuntimeOptions) -> Bundle:
    """Store the outputs of the int8 artifacts for the images that a draft carries.

    Artifacts that this machine cannot run, not even in another arithmetic, are left out.

    Args:
        bundle: a draft whose folder is written to; it is not saved.
        options: device and threads.

    Raises:
        BundleError: the reference is damaged.
        OSError: the file cannot be written.
    """
    stored, note = read_stored(bundle), bundle.evidence.reference
    if stored is None or note is None:
        return bundle
    outputs: dict[str, tuple[NDArray[np.float32], ...]] = {}
    notes: dict[str, Int8Outputs] = {}
    for run in plan_runs(bundle, precisions=["int8"]):
        sha256 = run.artifact.files[run.artifact.path]
        try:
            with open_detector(bundle, run, options) as detector:
                outputs[sha256] = tuple(_output(detector, image) for image in stored.images)
                version = detector.runtime.info.version
        except (*BROKEN, UnavailableError):
            continue
        notes[sha256] = Int8Outputs(
            runtime=run.row.name,
            version=version,
            native=not run.foreign,
            processor=read_machine().cpu_key,
        )
    path = bundle.path / FILE
    _write(replace(stored, int8=outputs), path, bundle)
    return bundle.with_evidence(msgspec.structs.replace(note, sha256=sha256_of(path), int8=notes))


def _output(detector: Detector, image: StoredImage) -> NDArray[np.float32]:
    size_hw = (image.pixels.shape[0], image.pixels.shape[1])
    if not accepts_size(detector.spec.input, size_hw):
        return np.zeros_like(image.output)  # compared on the other images alone
    outputs, spec = (
        ReferenceResult.of(detector, image.pixels, size_hw).stages.outputs,
        detector.spec,
    )
    if spec.head.embedded_nms or spec.head.maps:  # the reference has the plain form
        return np.array(canonical_outputs(outputs, spec, size_hw)[np.newaxis], np.float32)
    return np.array(outputs[spec.head.output], np.float32)


def _store(
    reference: Detector, bundle: Bundle, found: Sequence[InputImage], *, source: str, name: str
) -> Bundle:
    """Write the images with most detections and the reference's outputs for them."""
    spec = bundle.spec.input
    step = max(1, len(found) // CARRIED_FROM)
    tried = found[::step][:CARRIED_FROM]
    usual = [_run_reference(reference, image, spec.size_hw) for image in tried]
    usual.sort(key=lambda pair: -pair[1])
    height, width = spec.size_hw
    count = min(MIN_IMAGES, max(1, _BUDGET_BYTES // (height * width * 3)))
    kept = usual[:count]
    for size_hw in dict.fromkeys((spec.min_hw, spec.max_hw)):
        if size_hw != spec.size_hw:
            kept.append(_run_reference(reference, found[0], size_hw))
    path = bundle.path / FILE
    _write(StoredReference(reference.spec, tuple(image for image, _ in kept)), path, bundle)
    note = ReferenceNote(
        file=FILE,
        sha256=sha256_of(path),
        images=len(kept),
        source=source,
        reference=name,
        detections=sum(detections for _, detections in kept),
    )
    return bundle.with_evidence(note)


def _write(stored: StoredReference, path: Path, bundle: Bundle) -> None:
    # The file of a bundle that was adopted is a link: the old bundle keeps its own.
    path.unlink(missing_ok=True)
    stored.write(path, floor=min(1e-3, lowered(bundle.spec.thresholds).conf))


def _run_reference(
    reference: Detector, image: InputImage, size_hw: tuple[int, int]
) -> tuple[StoredImage, int]:
    """The image with the output of the reference, and the number of detections in it."""
    source = image.read()
    letterbox = Letterbox.fit((source.shape[0], source.shape[1]), size_hw)
    pixels = letterbox.apply(source, pad_value=reference.spec.input.pad_value)
    result = ReferenceResult.of(reference, pixels, size_hw)
    stored = StoredImage(
        name=image.name,
        pixels=pixels,
        tensor_sha256=digest(result.stages.tensor[-1:]),
        output=result.stages.outputs[reference.spec.head.output],
    )
    return stored, len(result.detections)
