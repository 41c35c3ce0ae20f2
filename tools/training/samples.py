"""Data sets: training samples in memory, and labelled files for evaluation."""

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
from tools.training.augment import Sample

__all__ = ["Data", "read_data", "shrink"]


@dataclass(frozen=True, eq=False)
class Data:
    """A data set for training.

    Attributes:
        samples: for training, scaled to the input.
        held_out: for evaluation.
        class_names: by class id.
        description: as text.
    """

    samples: Sequence[Sample]
    held_out: DataSet
    class_names: tuple[str, ...]
    description: str

    def __post_init__(self) -> None:
        if not any(len(sample.boxes) for sample in self.samples):
            raise InputError(
                "there is nothing to learn from",
                got=f"{len(self.samples)} images without objects",
                expected="labelled objects",
                fix="Check the training split of the data set",
            )


def read_data(file: Path, side: int) -> Data:
    """Read the splits `train` and `val` of a data.yaml, without crowd regions in `train`.

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
    samples = []
    for each in train.images:
        image = read_image(each.path)
        boxes = each.boxes_px((image.shape[0], image.shape[1])).astype(np.float32)
        counted = ~each.labels.crowd
        samples.append(shrink(Sample(image, boxes[counted], each.labels.class_id[counted]), side))
    description = (
        f"{file.parent.resolve().name}/{file.name}: {len(samples)} images and {train.num_boxes} "
        f"boxes in train, {len(held_out.images)} and {held_out.num_boxes} in val"
    )
    return Data(samples, held_out, train.class_names, description)


def shrink(sample: Sample, side: int) -> Sample:
    """Scale a sample so that its longer side is `side` pixels, as in the letterbox."""
    height, width = sample.image.shape[:2]
    new_hw = Letterbox.fit((height, width), (side, side)).new_hw
    image: NDArray[np.uint8] = np.asarray(
        cv2.resize(sample.image, new_hw[::-1], interpolation=cv2.INTER_LINEAR), np.uint8
    )
    gain = np.array([new_hw[1] / width, new_hw[0] / height] * 2, np.float32)
    return Sample(image, sample.boxes * gain, sample.class_ids)
