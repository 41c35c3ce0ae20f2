"""A few images with the outputs of the PyTorch module, kept inside a bundle.

A device without torch checks its engines against these. The images are letterboxed already, so
that all devices compare the same pixels. Of the outputs only the anchors with a score above a
floor are kept: an artifact that gives another anchor a score above `differences.SCORE_FLOOR`
still fails.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BundleError
from ghost_deploy.core.files import read_regular
from ghost_deploy.core.spec import MAX_SIDE, ModelSpec
from ghost_deploy.judge.parity.output_forms import scored
from ghost_deploy.processing.file_kind import image_format

FILE = "reference.npz"
_TOP = 200
"""Anchors that are kept whatever their score: more than `differences.TOP_ANCHORS`."""

_TOP_OF_MAP = 16
"""Anchors of each map of the head that are kept whatever their score."""

_FLOOR = 1e-3
_MAX_BYTES = 256 << 20
"""Of all arrays, unpacked: bundles from other people are not trusted."""

_DAMAGED = (
    *(OSError, EOFError, LookupError, ValueError, TypeError, OverflowError, MemoryError),
    *(RuntimeError, zlib.error, zipfile.BadZipFile, cv2.error),
)
"""Errors of numpy, zlib and OpenCV, and SpecError, for a damaged file."""


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image and the output of the reference.

    Attributes:
        name: of the source file.
        pixels: (H, W, 3) uint8 BGR, letterboxed to a size that the graph accepts.
        tensor_sha256: of the input tensor (1, ...) that the preprocessing makes of it.
        output: the reference's output, batch 1, in full or with zeros where nothing was kept.
    """

    name: str
    pixels: NDArray[np.uint8]
    tensor_sha256: str
    output: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class StoredReference:
    """Images with reference outputs.

    Attributes:
        spec: the description of the reference.
        images: with the outputs of the reference.
        int8: outputs of int8 artifacts for these images, by the sha256 of their file.
    """

    spec: ModelSpec
    images: tuple[StoredImage, ...]
    int8: Mapping[str, tuple[NDArray[np.float32], ...]] = field(default_factory=dict)

    def of_int8(self, sha256: str) -> StoredReference | None:
        """The images with the outputs of an int8 artifact in place of the reference's own."""
        outputs = self.int8.get(sha256)
        if outputs is None:
            return None
        pairs = zip(self.images, outputs, strict=True)
        return StoredReference(self.spec, tuple(replace(i, output=out) for i, out in pairs))

    def write(self, path: Path, *, floor: float = _FLOOR) -> None:
        """Write the file; equal content gives equal bytes.

        Args:
            path: of the file.
            floor: anchors with a higher score are kept.
        """
        arrays: dict[str, Any] = {"spec": _text(self.spec.to_json().decode())}
        for number, image in enumerate(self.images):
            kept = _kept(image.output, self.spec, floor, image.pixels.shape)
            arrays |= {
                f"name_{number}": _text(image.name),
                f"image_{number}": _png(image.pixels),
                f"tensor_{number}": _text(image.tensor_sha256),
                f"shape_{number}": np.array(image.output.shape, np.int64),
                f"kept_{number}": kept,
                f"output_{number}": np.take(image.output[0], kept, axis=_axis(self.spec)),
            }
        for sha256, outputs in self.int8.items():
            for number, output in enumerate(outputs):
                kept = _kept(output, self.spec, floor, self.images[number].pixels.shape)
                arrays |= {
                    f"int8_{sha256}_kept_{number}": kept,
                    f"int8_{sha256}_output_{number}": np.take(
                        output[0], kept, axis=_axis(self.spec)
                    ),
                }
        np.savez_compressed(path, **arrays)

    @classmethod
    def read(cls, data: bytes, *, where: str) -> StoredReference:
        """Read the result of `write`.

        Raises:
            BundleError: it is damaged.
        """
        try:
            _check_arrays(data)
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                spec = ModelSpec.from_json(_words(file["spec"]), where=where)
                count = sum(key.startswith("image_") for key in file.files)
                images = tuple(_image(file, number, _axis(spec)) for number in range(count))
                hashes = dict.fromkeys(k.split("_")[1] for k in file.files if k.startswith("int8_"))
                int8 = {name: _int8(file, name, images, _axis(spec)) for name in hashes}
        except _DAMAGED as error:
            raise BundleError(
                f"{where} cannot be read",
                got=str(error),
                fix="Copy the bundle again, or export the model again",
            ) from error
        return cls(spec, images, int8)


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
    return StoredReference.read(read_regular(path, _MAX_BYTES), where=str(path))


def digest(tensor: NDArray[Any]) -> str:
    """The sha256 of the bytes of an input tensor, of any shape and dtype, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(tensor).tobytes()).hexdigest()


def _kept(
    output: NDArray[np.float32], spec: ModelSpec, floor: float, shape: Sequence[int]
) -> NDArray[np.int64]:
    """The anchors that are kept, places along `_axis`; all of (1, K, 6).

    `shape` is that of the image; of each map of the head the best anchors are kept too, so that a
    part that finds nothing in these images is compared.
    """
    if spec.head.end_to_end:
        return np.arange(output.shape[-1])
    rows = scored(output[0]) if spec.head.per_row else output[0]
    best = rows[4:].max(axis=0)
    top = np.argsort(-best, kind="stable")[:_TOP]
    return np.unique([*np.flatnonzero(best > floor), *top, *_best_of_maps(best, spec, shape)])


def _best_of_maps(
    best: NDArray[np.float32], spec: ModelSpec, shape: Sequence[int]
) -> Iterator[np.int64]:
    height, width = shape[:2]
    cells = [(height // stride) * (width // stride) for stride in spec.head.strides]
    start = 0
    for count in (each * (len(best) // sum(cells)) for each in cells):
        order = np.argsort(-best[start : start + count], kind="stable")
        yield from start + order[:_TOP_OF_MAP]
        start += count


def _axis(spec: ModelSpec) -> int:
    """The axis of the output for one image along which a part is kept."""
    return 0 if spec.head.per_row else 1


def _image(file: Any, number: int, axis: int) -> StoredImage:
    data = file[f"image_{number}"]
    # Width and height stand in the header: a small file can unpack to gigabytes of pixels.
    sides = [int.from_bytes(bytes(data[start : start + 4]), "big") for start in (16, 20)]
    fits = image_format(bytes(data[:16])) == "png" and max(sides) <= MAX_SIDE
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if fits else None
    if pixels is None:
        raise ValueError(f"image {number} is no PNG of a fitting size")
    shape = tuple(int(size) for size in file[f"shape_{number}"])
    if len(shape) != 3 or shape[0] != 1 or math.prod(shape) * 4 > _MAX_BYTES:
        raise ValueError(f"output {number} of shape {shape}")
    output = _spread(shape, axis, file[f"kept_{number}"], file[f"output_{number}"])
    name, tensor = (_words(file[f"{key}_{number}"]) for key in ("name", "tensor"))
    return StoredImage(name, np.asarray(pixels, np.uint8), tensor, output)


def _int8(
    file: Any, sha256: str, images: Sequence[StoredImage], axis: int
) -> tuple[NDArray[np.float32], ...]:
    return tuple(
        _spread(
            image.output.shape,
            axis,
            file[f"int8_{sha256}_kept_{number}"],
            file[f"int8_{sha256}_output_{number}"],
        )
        for number, image in enumerate(images)
    )


def _spread(shape: tuple[int, ...], axis: int, kept: Any, values: Any) -> NDArray[np.float32]:
    """An output of `shape` with zeros where nothing was kept along `axis` of the image."""
    output = np.zeros(shape, np.float32)
    np.moveaxis(output[0], axis, -1)[..., kept] = np.moveaxis(values, axis, -1)
    return output


def _check_arrays(data: bytes) -> None:
    """Require that arrays are as large as their headers say: numpy allocates that much first."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > _MAX_BYTES:
            raise ValueError(f"{size} bytes of arrays, at most {_MAX_BYTES} are read")
        for entry in entries:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{entry.filename} is compressed in another way")
            with archive.open(entry) as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError(f"{entry.filename} is no array of version 1.0")
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                if file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
                    raise ValueError(f"{entry.filename} is not as large as its shape {shape}")


def _png(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # As small as at level 9, in a fifth of the time.
    how = [
        cv2.IMWRITE_PNG_COMPRESSION,
        6,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_FILTERED,
    ]
    _, data = cv2.imencode(".png", image, how)
    return np.asarray(data, np.uint8).ravel()


def _text(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _words(array: Sequence[int]) -> str:
    return bytes(np.asarray(array, np.uint8)).decode()
