"""Reading images from files, bytes, arrays, PIL images and frames as BGR uint8.

One image gives the same pixels whichever way it comes, with every version of OpenCV:

- The content decides what a file is, not its suffix.
- The size is read from the header first, and an image above the limit is not decoded.
- The orientation of EXIF (of AVIF also its own) is applied here, not by OpenCV, whose versions
  differ: 4.10 does not apply that of WebP, 5.0 refuses TIFFs that lie on their side.
- A JPEG that only lacks its end marker is read; one that lacks image data is refused. OpenCV
  4.10 fills it with grey, later versions refuse both.
- `processing.pixels` has the rule for depth, grey and alpha.
- Of an animation and of several pages the first image is read.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.core.image_input import ImageInput
from ghost_deploy.core.pixel_limit import check_pixels, max_pixels
from ghost_deploy.processing.byte_reader import FileBytes
from ghost_deploy.processing.decode_image import check_header, decode_image, upright
from ghost_deploy.processing.decoder_remarks import decoded
from ghost_deploy.processing.pixels import bgr_of
from ghost_deploy.processing.tiff_tags import exif_orientation

IMAGE_SUFFIXES = (".avif", ".bmp", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Lower-case file name suffixes of images in folders and patterns."""

# Up to this size a file is read before its header is looked at, which saves a second access.
_WILD = re.compile(r"[*?\[]")

_SMALL_BYTES = 16 << 20
# Bytes a pixel of the largest file that is taken: no compression, four channels of 64 bits.
_MOST_BYTES_A_PIXEL = 32


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8 BGR, upright; see the rules above.

    Raises:
        ImageTooLargeError: it has more pixels than the limit; it was not decoded.
        ImageError: the file is missing, empty, damaged, cut off or of an unknown format.
    """
    name = os.fspath(path)
    what = f"the image {name}"
    try:
        with open(name, "rb", opener=_open_without_waiting) as file:
            size = _size_of(file.fileno(), what)
            if size > _SMALL_BYTES:
                check_header(FileBytes(file.fileno()), what)
            data = file.read()
            return decoded(name, lambda: decode_image(data, what))
    except FileNotFoundError as error:
        raise ImageError(f"there is no image {name}", fix="Check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a zero in the name
        raise _no_access(name, error) from error


def check_image(path: str | os.PathLike[str]) -> None:
    """Read the header of an image file and nothing else.

    Raises:
        ImageError: the file is missing, empty, larger than the limit, or its header is damaged.
    """
    name = os.fspath(path)
    what = f"the image {name}"
    try:
        with open(name, "rb", opener=_open_without_waiting) as file:
            _size_of(file.fileno(), what)
            check_header(FileBytes(file.fileno()), what)
    except FileNotFoundError as error:
        raise ImageError(f"there is no image {name}", fix="Check the path") from error
    except (OSError, ValueError) as error:
        raise _no_access(name, error) from error


def _open_without_waiting(name: str, flags: int) -> int:
    # A pipe without a writer would wait for ever.
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def _size_of(descriptor: int, what: str) -> int:
    """The size of a regular file, bytes, if an image within the limit can be so large."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{what} is not a regular file", fix="Copy it to a file first")
    most = max_pixels() * _MOST_BYTES_A_PIXEL
    if status.st_size > most:
        raise ImageError(
            f"{what} is too large a file",
            got=f"{status.st_size} bytes",
            expected=f"at most {most}, {_MOST_BYTES_A_PIXEL} for each pixel of --max-pixels",
            fix="Check that it is an image",
        )
    return status.st_size


def _no_access(name: str, error: Exception) -> ImageError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    fix = (
        "Name a file, not a folder"
        if isinstance(error, IsADirectoryError)
        else "Check its permissions"
    )
    return ImageError(f"the image {name} cannot be read", got=reason, fix=fix)


def are_several(images: ImageInput | Sequence[ImageInput]) -> TypeGuard[Sequence[ImageInput]]:
    """Whether this is a sequence of images, or a path that may name several.

    Of an array the first axis is the height: an array is one image.
    """
    if isinstance(images, (str, os.PathLike)):
        name = os.fspath(images)
        return os.path.isdir(name) or (bool(_WILD.search(name)) and not os.path.lexists(name))
    return isinstance(images, Sequence) and not isinstance(images, (bytes, bytearray, memoryview))


def as_sequence(images: ImageInput | Sequence[ImageInput]) -> Sequence[ImageInput]:
    """The images, one after another; those of a folder or glob pattern as their paths.

    Raises:
        ImageError: a folder or pattern has no images.
    """
    if are_several(images):
        return list_images(images) if isinstance(images, (str, os.PathLike)) else images
    return [cast("ImageInput", images)]


def as_bgr(image: ImageInput) -> NDArray[np.uint8]:
    """Convert an image to (H, W, 3) uint8 BGR.

    Args:
        image: a path; the bytes of an image file; an array as returned by `cv2.imread`: (H, W),
            (H, W, 1), (H, W, 3) BGR or (H, W, 4) BGRA, of any type of number; a `Frame`; or a PIL
            image. See the rules above, and `processing.pixels` for types.

    Returns:
        The given array if it has this form, else a new one.

    Raises:
        ImageTooLargeError: a file or a PIL image has more pixels than the limit.
        ImageError: `image` is of another kind, or its file cannot be read.
    """
    if isinstance(image, np.ndarray):
        return bgr_of(image)
    if isinstance(image, Frame):
        return image.image if image.color == "bgr" else _swap_red_blue(image.image)
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, (bytes, bytearray, memoryview)):
        return decode_image(bytes(image), f"the image of {len(image)} bytes")
    if hasattr(image, "mode") and hasattr(image, "convert"):
        return _from_pil(image)
    raise ImageError(
        "this cannot be used as an image",
        got=type(image).__name__,
        expected="an array in BGR order, a PIL image, a path, the bytes of a file or a Frame",
        fix="Read it with cv2.imread, or pass its path",
    )


def _from_pil(image: Any) -> NDArray[np.uint8]:
    """The pixels of a PIL image.

    PIL keeps the upper 8 bits of colour images of 16 bits when it loads them: what it has opened
    and not yet loaded is read from its file instead.
    """
    width, height = getattr(image, "size", (1, 1))
    what = f"the PIL image {getattr(image, 'filename', '')}".rstrip()
    check_pixels(width, height, what)
    try:
        if _loses_bits(image):
            return _from_file_of(image, what)
        if image.mode[:1] in ("I", "F"):  # I;16, I;16B, I, F
            pixels = bgr_of(_native(np.asarray(image)))
        else:
            pixels = bgr_of(_swap_red_blue(np.asarray(image.convert("RGB"))))
    # Files are decoded only now; PIL's plugins raise whatever they meet.
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageError(
            f"{what} cannot be decoded", got=str(error), fix="Check that it is whole"
        ) from error
    # PIL turns TIFFs itself when it decodes them.
    block = getattr(image, "info", {}).get("exif", b"")
    return upright(pixels, exif_orientation(block) if isinstance(block, bytes) else 1)


def _loses_bits(image: Any) -> bool:
    """Whether it is a file of 16-bit colour that PIL has not loaded yet; its first page."""
    if image.mode[:1] in ("I", "F") or not getattr(image, "fp", None) or image.tell():
        return False
    return any(";16" in str(part[-1]) for part in getattr(image, "tile", ()))


def _from_file_of(image: Any, what: str) -> NDArray[np.uint8]:
    at = image.fp.tell()
    try:
        image.fp.seek(0)
        return decode_image(image.fp.read(), what)
    finally:
        image.fp.seek(at)


def _native(array: NDArray[Any]) -> NDArray[Any]:
    """The array in the byte order of the machine."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _swap_red_blue(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[..., ::-1])


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
    # Of os.path, not of Path, which raises for names that are too long.
    if os.path.isfile(path):
        return [path]
    if os.path.isdir(path):
        found = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    else:
        found = [Path(name) for name in glob.glob(os.fspath(source), recursive=True)]
    images = [entry for entry in found if entry.suffix.lower() in IMAGE_SUFFIXES]
    images = sorted((entry for entry in images if entry.is_file()), key=natural_order)
    if not images:
        where = "no image in the folder" if os.path.isdir(path) else "no image at"
        folders = [text for entry in sorted(found, key=natural_order) if (text := _content(entry))]
        raise ImageError(
            f"{where} {os.fspath(source)}",
            got=", ".join(folders) or _others(path, found),
            expected=f"files named {' '.join(IMAGE_SUFFIXES)}",
            fix="Name the folder that holds the images"
            if folders
            else "Check the path; quote a pattern so that the shell does not change it",
        )
    return images


def _others(path: Path, found: Sequence[Path]) -> str | None:
    """What is there instead of images."""
    if os.path.lexists(path) and not os.path.isdir(path):
        return "a device, a pipe or a link that leads nowhere"
    return f"{len(found)} other entries" if found else None


def _content(entry: Path) -> str:
    """What a folder holds, if there are images in it."""
    try:
        count = sum(file.suffix.lower() in IMAGE_SUFFIXES for file in entry.iterdir())
    except OSError:  # no folder, or not ours to read
        return ""
    return f"{entry} with {count} image{'s' * (count > 1)}" if count else ""


def natural_order(path: Path) -> list[tuple[str, int, str]]:
    """A sort key that treats digits as numbers; its last item distinguishes 1 and 01."""
    parts = re.findall(r"(\D*)(\d*)", os.fspath(path))
    return [(text.casefold(), int(digits or 0), text + digits) for text, digits in parts]
