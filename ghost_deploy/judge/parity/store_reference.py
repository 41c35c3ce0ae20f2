"""Stores images and outputs of PyTorch in a bundle, for the self-check on a device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.core.bundle import Bundle, sha256_of
from ghost_deploy.core.evidence.reference import ReferenceNote
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.inputs import InputImage, demo_images, file_images
from ghost_deploy.judge.parity.pytorch_reference import open_float64, open_reference
from ghost_deploy.judge.parity.stages import ReferenceResult, lowered
from ghost_deploy.judge.parity.stored_reference import (
    FILE,
    StoredImage,
    StoredReference,
    digest,
)
from ghost_deploy.processing.letterbox import Letterbox

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.loading import LoadedCheckpoint

_MAX_IMAGES = 4
_CANDIDATES = 8
_BUDGET_BYTES = 4 << 20
"""Pixels of all images of the usual size, before compression: three of 640 x 640."""


def store_reference(
    loaded: LoadedCheckpoint, bundle: Bundle, images: Sequence[Path] | None, *, exact: bool = False
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
    spec = bundle.spec.input
    with (open_float64 if exact else open_reference)(loaded, bundle.spec) as reference:
        usual = [_run_reference(reference, image, spec.size_hw) for image in found[:_CANDIDATES]]
        usual.sort(key=lambda pair: -pair[1])
        height, width = spec.size_hw
        count = min(_MAX_IMAGES, max(1, _BUDGET_BYTES // (height * width * 3)))
        kept = [image for image, _ in usual[:count]]
        for size_hw in dict.fromkeys((spec.min_hw, spec.max_hw)):
            if size_hw != spec.size_hw:
                kept.append(_run_reference(reference, found[0], size_hw)[0])
        stored = StoredReference(reference.spec, tuple(kept))
        info = reference.runtime.info
    path = bundle.path / FILE
    stored.write(path, floor=min(1e-3, lowered(bundle.spec.thresholds).conf))
    note = ReferenceNote(
        file=FILE,
        sha256=sha256_of(path),
        images=len(kept),
        source="demo" if images is None else "images",
        reference=f"PyTorch {info.version} in {'float64' if exact else 'float32'}, unfused",
    )
    return bundle.with_evidence(note)


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
