"""Annotated images of image mode, one file each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.files import refuse_existing
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.sinks.sink import cannot_write, write_file

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class ImageWriter:
    """Writes images into a folder, each named after its source and whole or not at all.

    Two sources of the same name become `cell.jpg` and `cell-2.jpg`. A format that OpenCV cannot
    write becomes JPEG.

    Args:
        folder: made if it does not exist.
        overwrite: replace images of an earlier run; a source is never replaced.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        self.folder = folder
        self._overwrite = overwrite
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(str(folder), error) from error

    def require_free(self, sources: Sequence[Path]) -> None:
        """Raise UsageError if an image of these sources is there, before any of them is read."""
        names: set[str] = set()
        for source in sources:
            self._require_free(source, self.folder / _free_name(source, names))

    def write(self, frame: Frame, image: NDArray[np.uint8]) -> Path:
        """Write one image and return its path.

        Args:
            frame: its source gives the name.
            image: (H, W, 3) uint8 BGR.

        Raises:
            UsageError: the image would replace its source, or another without `overwrite`.
            InputError: the system refuses; nothing is left of this image.
        """
        source = Path(frame.source)
        target = self.folder / _free_name(source, self._taken)
        self._require_free(source, target)
        done, data = cv2.imencode(target.suffix, image)
        if not done:
            raise InputError(
                f"OpenCV cannot encode {target.name}",
                got=f"an image of {image.shape[1]} x {image.shape[0]} pixels",
                fix=f"Convert the source to another format than {target.suffix}",
            )
        write_file(target, data.tobytes())
        return target

    def _require_free(self, source: Path, target: Path) -> None:
        if target.exists() and source.exists() and target.samefile(source):
            raise UsageError(
                f"{target} would be overwritten by its annotated copy",
                fix="Choose an output folder that is not the folder of the images",
            )
        refuse_existing(target, overwrite=self._overwrite)


def _free_name(source: Path, taken: set[str]) -> str:
    """The name of the image of a source, which is added to `taken`."""
    suffix = source.suffix if source.suffix.lower() in _SUFFIXES else ".jpg"
    stem = source.stem or "frame"
    name, count = f"{stem}{suffix}", 1
    # Compared without case: on some file systems `A.jpg` and `a.jpg` are the same file.
    while name.casefold() in taken:
        count += 1
        name = f"{stem}-{count}{suffix}"
    taken.add(name.casefold())
    return name
