"""A few pictures with what the PyTorch module says of them, kept inside a bundle.

A device without torch checks what it built against these. The pictures are letterboxed already,
so that every device sees the same pixels; of the outputs only the anchors are kept that a
comparison can look at, which is all that is lost: an anchor that is left out has a score below
`floor`, and a candidate that gives it one above `compare.SCORE_FLOOR` is seen all the same.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BundleError, SpecError
from ghost_deploy.core.spec import MAX_SIDE, ModelSpec

__all__ = ["FILE", "StoredPicture", "StoredReference", "read_stored"]

FILE = "reference.npz"
_TOP = 200
"""Anchors that are kept whatever their score: more than a comparison of quiet images takes."""

_FLOOR = 1e-3
_MAX_BYTES = 256 << 20
"""Of all arrays, unpacked: a bundle may come from anybody."""

_DAMAGED = (
    OSError,
    EOFError,
    KeyError,
    ValueError,
    IndexError,
    zlib.error,
    zipfile.BadZipFile,
    SpecError,
    cv2.error,
)
"""What numpy, zlib and OpenCV raise for a damaged file."""


@dataclass(frozen=True, eq=False)
class StoredPicture:
    """A picture and what the reference says of it.

    Attributes:
        name: of the file that it came from.
        image: (H, W, 3) uint8 BGR, letterboxed to a size that the graph accepts.
        tensor_sha256: of the input tensor (1, ...) that the preprocessing makes of it.
        output: the reference's output, batch 1, in full or with zeros where nothing was kept.
    """

    name: str
    image: NDArray[np.uint8]
    tensor_sha256: str
    output: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StoredReference:
    """The pictures; `spec` is the reference's own description."""

    spec: ModelSpec
    pictures: tuple[StoredPicture, ...]

    def write(self, path: Path, *, floor: float = _FLOOR) -> None:
        """Write the file; equal content gives equal bytes.

        Args:
            path: of the file.
            floor: anchors with a higher score are kept.
        """
        arrays: dict[str, Any] = {"spec": _text(self.spec.to_json().decode())}
        for number, picture in enumerate(self.pictures):
            kept = _kept(picture.output, self.spec, floor)
            arrays |= {
                f"name_{number}": _text(picture.name),
                f"image_{number}": _png(picture.image),
                f"tensor_{number}": _text(picture.tensor_sha256),
                f"shape_{number}": np.array(picture.output.shape, np.int64),
                f"kept_{number}": kept,
                f"output_{number}": np.take(picture.output[0], kept, axis=-1),
            }
        np.savez_compressed(path, **arrays)

    @classmethod
    def read(cls, data: bytes, *, where: str) -> StoredReference:
        """Read what `write` wrote.

        Raises:
            BundleError: it is damaged.
        """
        try:
            _check_size(data)
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                spec = ModelSpec.from_json(_words(file["spec"]), where=where)
                count = sum(key.startswith("image_") for key in file.files)
                pictures = tuple(_picture(file, number) for number in range(count))
        except _DAMAGED as error:
            raise BundleError(
                f"{where} cannot be read",
                got=str(error),
                fix="Copy the bundle again, or export the model again",
            ) from error
        return cls(spec, pictures)


def read_stored(bundle: Bundle) -> StoredReference | None:
    """The reference of a bundle; None for a bundle that was written without one.

    Raises:
        BundleError: it is missing, was changed, or is damaged.
    """
    note = bundle.evidence.reference
    if note is None:
        return None
    bundle.evidence_files()
    path = bundle.path / note.file
    return StoredReference.read(path.read_bytes(), where=str(path))


def digest(tensor: NDArray[Any]) -> str:
    """The sha256 of an input tensor's numbers."""
    return hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest()


def _kept(output: NDArray[np.float32], spec: ModelSpec, floor: float) -> NDArray[np.int64]:
    """Places along the last axis of (1, 4 + classes, A) that are kept; all of (1, K, 6)."""
    if spec.head.end_to_end:
        return np.arange(output.shape[-1])
    best = output[0, 4:].max(axis=0)
    top = np.argsort(-best, kind="stable")[:_TOP]
    return np.union1d(np.flatnonzero(best > floor), top)


def _picture(file: Any, number: int) -> StoredPicture:
    data = file[f"image_{number}"]
    # Width and height stand in the header: a small file can unpack to gigabytes of pixels.
    sides = [int.from_bytes(bytes(data[start : start + 4]), "big") for start in (16, 20)]
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if max(sides) <= MAX_SIDE else None
    if image is None:
        raise ValueError(f"picture {number} is no PNG of a fitting size")
    shape = tuple(int(size) for size in file[f"shape_{number}"])
    if len(shape) != 3 or shape[0] != 1 or math.prod(shape) * 4 > _MAX_BYTES:
        raise ValueError(f"output {number} of shape {shape}")
    output = np.zeros(shape, np.float32)
    output[0][..., file[f"kept_{number}"]] = file[f"output_{number}"]
    name, tensor = (_words(file[f"{key}_{number}"]) for key in ("name", "tensor"))
    return StoredPicture(name, np.asarray(image, np.uint8), tensor, output)


def _check_size(data: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MAX_BYTES:
        raise ValueError(f"{size} bytes of arrays, at most {_MAX_BYTES} are read")


def _png(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return np.asarray(data, np.uint8).ravel()


def _text(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _words(array: Sequence[int]) -> str:
    return bytes(np.asarray(array, np.uint8)).decode()
