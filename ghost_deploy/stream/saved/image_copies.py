"""The images of saved results: names of their own, copies of image files, JPEGs of frames."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ExportError, InputError
from ghost_deploy.core.files import write_whole
from ghost_deploy.core.frame import Frame
from ghost_deploy.processing.images import IMAGE_SUFFIXES
from ghost_deploy.stream.sinks.record import file_stem
from ghost_deploy.stream.sinks.sink import cannot_write, write_file

_QUALITY = 95
_LONGEST_STEM = 150
_MOST_BYTES = 200
"""Of a stem: file systems take 255 for a name, and suffixes and numbers follow."""


def jpeg_of(image: NDArray[np.uint8]) -> bytes:
    """A JPEG of high quality of a (H, W, 3) uint8 BGR image."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise InputError(
            "OpenCV cannot encode an image as JPEG",
            got=f"{image.shape[1]} x {image.shape[0]} pixels",
            fix="Use a smaller image",
        )
    return data.tobytes()


def image_file_of(frame: Frame) -> Path | None:
    """The image file that a frame was read from; None for a frame of anything else."""
    path = Path(frame.source)
    is_image = frame.position_s is None and path.suffix.lower() in IMAGE_SUFFIXES
    return path if is_image and path.is_file() else None


class ImageNames:
    """Names for the files of each image: its own, and a number where that is taken.

    `cell.jpg` and `other/cell.png` become `cell` and `cell-2`; a frame of a video or of memory is
    named after its source and its index.
    """

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, frame: Frame) -> tuple[str, str]:
        """The stem of all files of an image, and the name of its copy."""
        path = image_file_of(frame)
        if path is not None:
            wanted, suffix = path.stem, path.suffix
        else:
            source = file_stem(Path(frame.source).stem) if frame.source else "frame"
            wanted, suffix = f"{source[:_LONGEST_STEM]}-{frame.index:06d}", ".jpg"
        # Lines of tables and names of other systems have no surrogates.
        wanted = os.fsencode(wanted).decode("utf-8", "replace")
        wanted = wanted.encode()[:_MOST_BYTES].decode("utf-8", "ignore")
        stem, count = wanted, 1
        # Compared without case: on some file systems `A.jpg` and `a.jpg` are the same file.
        while stem.casefold() in self._taken:
            count += 1
            stem = f"{wanted}-{count}"
        self._taken.add(stem.casefold())
        return stem, f"{stem}{suffix}"

    def hold(self, stem: str) -> None:
        """No image gets this stem."""
        self._taken.add(stem.casefold())

    def release(self, stem: str) -> None:
        """The files of that stem are gone: another image may have it."""
        self._taken.discard(stem.casefold())


def write_copy(frame: Frame, target: Path) -> None:
    """Write the image of a frame: its file byte for byte, or its pixels as JPEG.

    Args:
        frame: the image.
        target: a file; nothing is done if it is the file that the frame was read from.

    Raises:
        InputError: the system refuses.
    """
    path = image_file_of(frame)
    if path is None:
        image = frame.image
        if frame.color == "rgb":
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        write_file(target, jpeg_of(image))
        return
    if target.exists() and target.samefile(path):
        return
    try:
        with path.open("rb") as source:
            write_whole(target, lambda out: shutil.copyfileobj(source, out))
    except OSError as error:
        raise cannot_write(str(target), error) from error
    except ExportError as error:
        raise InputError(error.what, got=error.got, fix=error.fix) from error
