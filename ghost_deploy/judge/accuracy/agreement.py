"""Accuracy without labels: agreement of a model with its float model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ghost_deploy.core.errors import InputError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.detector import Detector
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.judge.datasets.labels import Labels
from ghost_deploy.processing.images import read_image


def label_by_model(
    detector: Detector, images: Sequence[Path], progress: Progress | None = None
) -> DataSet:
    """Make a data set whose labels are the detections of `detector`.

    mAP on it measures agreement: 100 points for a model that finds the same boxes with a higher
    score than anything else. Points lost there are not points lost on true labels, but a model
    that loses none of the former loses none of the latter.

    Args:
        detector: the float model; its thresholds decide what is a detection.
        images: image files.
        progress: called before each image.

    Raises:
        ImageError: an image cannot be read.
        InputError: no detection in any image.
    """
    labelled = []
    for index, path in enumerate(images):
        (progress or silent)("labels from the float model", index, len(images))
        image = read_image(path)
        found = detector(image)
        labels = Labels.of(found.xyxy.tolist(), found.class_id.tolist())
        labelled.append(LabelledImage(path, labels, (image.shape[0], image.shape[1])))
    dataset = DataSet(
        name="detections of the float model",
        form="model",
        split="",
        class_names=detector.spec.class_names,
        images=tuple(labelled),
    )
    if not dataset.num_boxes:
        raise InputError(
            "the float model finds nothing in the calibration images: agreement is undefined",
            got=f"{len(images)} images, scores from {detector.thresholds.conf:g}",
            fix="Use images of what the model was trained for, or labelled ones with --data",
        )
    return dataset
