"""What is learned from and judged on: pictures in memory, and labelled files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import InputError
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.processing.images import read_image
from ghost_deploy.processing.letterbox import Letterbox
from tools.training.augment import Picture

__all__ = ["Data", "read_data", "shrink"]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, ready to be trained on.

    Attributes:
        pictures: to learn from, scaled to fit the input.
        held_out: to judge by.
        class_names: by class id.
        description: in words.
    """

    pictures: Sequence[Picture]
    held_out: DataSet
    class_names: tuple[str, ...]
    description: str

    def __post_init__(self) -> None:
        if not any(len(picture.boxes) for picture in self.pictures):
            raise InputError(
                "there is nothing to learn from",
                got=f"{len(self.pictures)} pictures without any object",
                expected="labelled objects",
                fix="Check the training split of the data set",
            )


def read_data(file: Path, side: int) -> Data:
    """The splits `train` and `val` of a data.yaml; crowd regions are not learned.

    Args:
        file: the data.yaml.
        side: of the input, pixels.

    Raises:
        InputError: the data set cannot be used, or its classes have no names.
        ImageError: an image cannot be read.
    """
    train, held_out = (open_dataset(file, split=split) for split in ("train", "val"))
    if not train.class_names:
        raise InputError(
            f"{file} names no classes",
            expected="`names`, one for each class",
            fix="Write the names into the data.yaml: the model carries them",
        )
    pictures = []
    for each in train.images:
        image = read_image(each.path)
        boxes = each.boxes_px((image.shape[0], image.shape[1])).astype(np.float32)
        counted = ~each.labels.crowd
        pictures.append(shrink(Picture(image, boxes[counted], each.labels.class_id[counted]), side))
    description = (
        f"{file.parent.resolve().name}/{file.name}: {len(pictures)} images and {train.num_boxes} "
        f"boxes in train, {len(held_out.images)} and {held_out.num_boxes} in val"
    )
    return Data(pictures, held_out, train.class_names, description)


def shrink(picture: Picture, side: int) -> Picture:
    """The picture scaled so that its longer side is `side` pixels, as for the model's input."""
    height, width = picture.image.shape[:2]
    new_hw = Letterbox.fit((height, width), (side, side)).new_hw
    image: NDArray[np.uint8] = np.asarray(
        cv2.resize(picture.image, new_hw[::-1], interpolation=cv2.INTER_LINEAR), np.uint8
    )
    gain = np.array([new_hw[1] / width, new_hw[0] / height] * 2, np.float32)
    return Picture(image, picture.boxes * gain, picture.class_ids)
