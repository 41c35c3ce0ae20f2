"""Reading images from files, arrays, PIL images and frames as BGR uint8."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame

IMAGE_SUFFIXES = (".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Lower-case file name suffixes of images in folders and patterns."""

_TIFF_SUFFIXES = (".tif", ".tiff")


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 BGR; its EXIF orientation is applied.

    Of 16 bits the high byte is used, grey is repeated over three channels, alpha is dropped
    without blending, and of several pages the first is read.

    Raises:
        ImageError: the file is missing, empty, damaged or of an unknown format.
    """
    name = os.fspath(path)
    data = _read_bytes(name)
    try:
        image = _decode(data, tiff=name.lower().endswith(_TIFF_SUFFIXES))
    except cv2.error as error:
        raise ImageError(
            f"the image {name} cannot be decoded",
            got=str(error).strip(),
            fix="Check that other programs can open it, and convert it to PNG or JPEG",
        ) from error
    if image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ImageError(
            f"the image {name} is damaged or of an unknown format",
            got="nothing that OpenCV can decode" if image is None else _describe(image),
            expected="an image of 8 or 16 bits a channel",
            fix="Check that other programs can open it, and convert it to PNG or JPEG",
        )
    return image


def _read_bytes(name: str) -> NDArray[np.uint8]:
    try:
        data = np.fromfile(name, np.uint8)
    except FileNotFoundError as error:
        raise ImageError(f"there is no image {name}", fix="Check the path") from error
    except OSError as error:
        fix = "Name a file, not a folder" if os.path.isdir(name) else "Check its permissions"
        raise ImageError(f"the image {name} cannot be read", got=error.strerror, fix=fix) from error
    if not data.size:
        raise ImageError(f"the image {name} is empty (0 bytes)", fix="Copy or record it again")
    return data


def _decode(data: NDArray[np.uint8], *, tiff: bool) -> NDArray[Any] | None:
    if tiff:
        # OpenCV's conversion of TIFF to 8-bit BGR rounds 16 bits and may blend alpha.
        raw: NDArray[Any] | None = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if raw is not None and raw.ndim == 3:
            if raw.dtype == np.uint16:
                raw = (raw >> 8).astype(np.uint8)
            return np.ascontiguousarray(raw[..., :3])
    image: NDArray[Any] | None = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return image


def as_bgr(image: object) -> NDArray[np.uint8]:
    """Convert an image to (H, W, 3) uint8 BGR.

    Args:
        image: a uint8 array (H, W, 3) BGR, as returned by `cv2.imread`, or (H, W) grey; a
            `Frame`; a PIL image, whose EXIF orientation is not applied; or a path.

    Returns:
        The given array if it has this form, else a new one.

    Raises:
        ImageError: `image` is of another kind, or its file cannot be read.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Frame):
        return image.image if image.color == "bgr" else _swap_red_blue(image.image)
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if hasattr(image, "mode") and hasattr(image, "convert"):
        return _from_array(_swap_red_blue(np.asarray(image.convert("RGB"))))
    raise ImageError(
        "this cannot be used as an image",
        got=type(image).__name__,
        expected="a uint8 BGR array, a PIL image, a path or a Frame",
        fix="Read it with cv2.imread, or pass its path",
    )


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    grey = array.ndim == 2
    if array.dtype != np.uint8 or not (grey or array.shape[2:] == (3,)) or array.size == 0:
        raise ImageError(
            "the array cannot be used as an image",
            got=_describe(array),
            expected="uint8 (height, width, 3) in BGR order, or (height, width) grey",
            fix="Pass pixels as cv2.imread gives them: 0 to 255, not scaled, no batch axis",
        )
    return np.repeat(array[..., None], 3, axis=2) if grey else array


def _swap_red_blue(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[..., ::-1])


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"


def list_images(source: str | os.PathLike[str]) -> list[Path]:
    """Return the image files of a path, in natural order (2 before 10).

    Args:
        source: a file of any suffix; a folder, not searched recursively; or a pattern with `*`,
            `?`, `[...]` or `**`. Folders and patterns give only files of `IMAGE_SUFFIXES` that
            are not hidden.

    Raises:
        ImageError: no such path, or no images.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    else:
        found = [Path(name) for name in glob.glob(os.fspath(source), recursive=True)]
    images = [entry for entry in found if entry.suffix.lower() in IMAGE_SUFFIXES]
    images = sorted((entry for entry in images if entry.is_file()), key=_natural)
    if not images:
        where = "no image in the folder" if path.is_dir() else "no image at"
        raise ImageError(
            f"{where} {os.fspath(source)}",
            got=f"{len(found)} other entries" if found else "nothing",
            expected=f"files named {' '.join(IMAGE_SUFFIXES)}",
            fix="Check the path; quote a pattern so that the shell does not change it",
        )
    return images


def _natural(path: Path) -> list[tuple[str, int, str]]:
    """A sort key that treats digits as numbers; its last item distinguishes 1 and 01."""
    parts = re.findall(r"(\D*)(\d*)", os.fspath(path))
    return [(text.casefold(), int(digits or 0), text + digits) for text, digits in parts]
