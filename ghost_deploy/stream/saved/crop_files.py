"""The cut-outs of detections: `crops/CLASS/NAME-1.jpg`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.stream.saved.image_copies import jpeg_of
from ghost_deploy.stream.saved.saved_image import FormWriter, SavedImage
from ghost_deploy.stream.sinks.record import file_stem
from ghost_deploy.stream.sinks.sink import write_file

_LONGEST_NAME = 60


class CropFiles(FormWriter):
    """Writes a JPEG of each detection into a folder of its class, best first in each image.

    A cut-out is the pixels that the box touches, without a border.

    Args:
        folder: of the results.
        class_names: by class id.
    """

    def __init__(self, folder: Path, class_names: tuple[str, ...]) -> None:
        self._folder = folder / "crops"
        self._class_folders = class_folders(class_names)

    def write(self, saved: SavedImage) -> None:
        """Write the cut-outs of one image.

        Raises:
            InputError: the system refuses.
        """
        image = saved.frame.image
        if saved.frame.color == "rgb":
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), np.uint8)
        for number, each in enumerate(saved.detections, 1):
            part = cut_out(image, each.xyxy)
            name = self._class_folders.get(each.class_id, str(each.class_id))
            if part.size:
                write_file(self._folder / name / f"{saved.stem}-{number}.jpg", jpeg_of(part))


def cut_out(image: NDArray[np.uint8], xyxy: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """The pixels of (H, W, 3) that a box touches; empty for a box outside of the image."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = xyxy
    left, right = max(0, math.floor(x1)), min(width, math.ceil(x2))
    top, bottom = max(0, math.floor(y1)), min(height, math.ceil(y2))
    return image[top:bottom, left:right]


def class_folders(class_names: Sequence[str]) -> dict[int, str]:
    """A folder name for each class; the id follows where two classes would share one.

    Compared without case: on some file systems `A` and `a` are the same folder.
    """
    names: dict[int, str] = {}
    taken: set[str] = set()
    for i, class_name in enumerate(class_names):
        name = file_stem(class_name)[:_LONGEST_NAME]
        while name.casefold() in taken:
            name = f"{name}-{i}"
        taken.add(name.casefold())
        names[i] = name
    return names
