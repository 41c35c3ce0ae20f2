"""Choose the pictures that a bundle carries for the self-check on a device, and ask PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.core.bundle import Bundle, sha256_of
from ghost_deploy.core.evidence.reference import ReferenceNote
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.inputs import Picture, demo_pictures, file_pictures
from ghost_deploy.judge.parity.reference import open_exact, open_reference
from ghost_deploy.judge.parity.stages import Truth, lowered
from ghost_deploy.judge.parity.stored_reference import (
    FILE,
    StoredPicture,
    StoredReference,
    digest,
)
from ghost_deploy.processing.letterbox import Letterbox

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.loading import LoadedCheckpoint

__all__ = ["store_reference"]

_MOST = 4
_LOOKED_AT = 8
_BUDGET_BYTES = 4 << 20
"""Pixels of all pictures of the usual size, before compression: three of 640 x 640."""


def store_reference(
    loaded: LoadedCheckpoint, bundle: Bundle, images: Sequence[Path] | None, *, exact: bool = False
) -> Bundle:
    """Write a few pictures and the module's outputs into a bundle, which is not saved yet.

    Of the first pictures those are taken in which most is found. A dynamic graph gets one more
    at each end of its range.

    Args:
        loaded: the checkpoint.
        bundle: whose folder is written to.
        images: image files; the demo scenes when None.
        exact: compute in float64, for a network that float32 is too coarse for.

    Raises:
        UsageError, ImageError, BackendError: as parity's.
        OSError: the disk refuses.
    """
    found = demo_pictures() if images is None else file_pictures(images)
    spec = bundle.spec.input
    with (open_exact if exact else open_reference)(loaded, bundle.spec) as reference:
        usual = [_ask(reference, picture, spec.size_hw) for picture in found[:_LOOKED_AT]]
        usual.sort(key=lambda truth: -truth[1])
        height, width = spec.size_hw
        count = min(_MOST, max(1, _BUDGET_BYTES // (height * width * 3)))
        kept = [picture for picture, _ in usual[:count]]
        for size_hw in dict.fromkeys((spec.min_hw, spec.max_hw)):
            if size_hw != spec.size_hw:
                kept.append(_ask(reference, found[0], size_hw)[0])
        stored = StoredReference(reference.spec, tuple(kept))
        info = reference.runtime.info
    path = bundle.path / FILE
    stored.write(path, floor=min(1e-3, lowered(bundle.spec.thresholds).conf))
    note = ReferenceNote(
        file=FILE,
        sha256=sha256_of(path),
        pictures=len(kept),
        source="demo" if images is None else "images",
        reference=f"PyTorch {info.version} in {'float64' if exact else 'float32'}, unfused",
    )
    return bundle.with_evidence(note)


def _ask(
    reference: Detector, picture: Picture, size_hw: tuple[int, int]
) -> tuple[StoredPicture, int]:
    """The picture with the reference's answer, and how much is found in it."""
    source = picture.read()
    letterbox = Letterbox.fit((source.shape[0], source.shape[1]), size_hw)
    image = letterbox.apply(source, pad_value=reference.spec.input.pad_value)
    truth = Truth.of(reference, image, size_hw)
    stored = StoredPicture(
        name=picture.name,
        image=image,
        tensor_sha256=digest(truth.walk.tensor[-1:]),
        output=truth.walk.outputs[reference.spec.head.output],
    )
    return stored, len(truth.detections)
