"""Chooses the images on which two models differ most, or both are wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import file_name
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.evidence.shown_boxes import HardImage, ShownBox
from ghost_deploy.judge.datasets.dataset import DataSet, LabelledImage
from ghost_deploy.judge.pairing import pair_detections
from ghost_deploy.processing.images import read_image

MOST_IMAGES = 6
_LONGEST_SIDE = 640
_MOST_BYTES = 120_000
_QUALITIES = (85, 70, 50, 30)


@dataclass(frozen=True, eq=False)
class ImageDetections:
    """Detections of a model in one image; `size_hw` is its (height, width) in pixels."""

    size_hw: tuple[int, int]
    found: Detections


def hard_images(
    dataset: DataSet,
    reference: Sequence[ImageDetections],
    candidates: Mapping[int, Sequence[ImageDetections]],
) -> tuple[HardImage, ...]:
    """At most six images, those on which a model departs most from the reference first.

    Each image is shown once, with the model that departs most from the reference there. Images
    on which the two agree follow by their mistakes; those without any are left out.

    Args:
        dataset: with the class ids of the models.
        reference: what the reference found in each image of `dataset`.
        candidates: the same of each model, by its row in the report.

    Raises:
        ImageError: an image cannot be read any more.
    """
    worst = []
    for index, (image, right) in enumerate(zip(dataset.images, reference, strict=True)):
        pairs = [
            _compared(image, right, detections[index], row)
            for row, detections in candidates.items()
        ]
        if pairs:
            worst.append((max(pairs, key=_rank), image.path))
    worst.sort(key=lambda shown: _rank(shown[0]), reverse=True)
    return tuple(
        msgspec.structs.replace(image, jpeg=small_jpeg(read_image(path)))
        for image, path in worst[:MOST_IMAGES]
        if _rank(image) > (0, 0)
    )


def small_jpeg(image: NDArray[np.uint8]) -> bytes:
    """A JPEG for a page: its longer side at most 640 pixels, at most about 120 kB.

    Args:
        image: (H, W, 3) uint8 BGR.
    """
    scale = min(1.0, _LONGEST_SIDE / max(image.shape[:2]))
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        shrunk: Any = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        image = shrunk
    data = b""
    for quality in _QUALITIES:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= _MOST_BYTES:
            break
    return data


def _compared(
    image: LabelledImage, right: ImageDetections, left: ImageDetections, row: int
) -> HardImage:
    """Reference and candidate on one image, without its pixels."""
    first, second, _ = pair_detections(right.found, left.found)
    own, other = np.ones(len(right.found), bool), np.ones(len(left.found), bool)
    own[first], other[second] = False, False
    reference, candidate = _boxes(image, right, own), _boxes(image, left, other)
    return HardImage(
        name=file_name(image.path),
        size_hw=right.size_hw,
        row=row,
        differences=sum(box.alone for box in (*reference, *candidate)),
        reference_wrong=_mistakes(reference),
        candidate_wrong=_mistakes(candidate),
        reference=reference,
        candidate=candidate,
        jpeg=b"",
    )


def _rank(image: HardImage) -> tuple[int, int]:
    """Images of a higher rank are shown first."""
    return image.differences, image.reference_wrong + image.candidate_wrong


def _mistakes(boxes: Sequence[ShownBox]) -> int:
    return sum(box.state in ("false", "missed") for box in boxes)


def _boxes(
    image: LabelledImage, detections: ImageDetections, alone: NDArray[np.bool_]
) -> tuple[ShownBox, ...]:
    """The detections of a model by their state, and the labels that it missed."""
    found, boxes = detections.found, image.boxes_px(detections.size_hw)
    crowd, class_id = image.labels.crowd, image.labels.class_id
    counted = np.flatnonzero(~crowd)
    labels = Detections(
        boxes[counted].astype(np.float32), np.ones(len(counted), np.float32), class_id[counted]
    )
    hit, seen, _ = pair_detections(found, labels)
    missed = np.setdiff1d(np.arange(len(labels)), seen)
    ignored = _in_crowd(found, boxes[crowd], class_id[crowd])
    hits = set(hit.tolist())
    rows = zip(found.xyxy.tolist(), found.class_id.tolist(), found.score.tolist(), strict=True)
    shown = [
        ShownBox(
            xyxy=_rounded(box),
            class_id=number,
            score=round(score, 4),
            state="found" if i in hits else "ignored" if ignored[i] else "false",
            alone=bool(alone[i]),
        )
        for i, (box, number, score) in enumerate(rows)
    ]
    shown += [
        ShownBox(
            xyxy=_rounded(labels.xyxy[i].tolist()),
            class_id=int(labels.class_id[i]),
            score=None,
            state="missed",
        )
        for i in missed
    ]
    return tuple(shown)


def _in_crowd(
    found: Detections, regions: NDArray[np.float64], class_id: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Whether the centre of each detection lies in a crowd region of its class."""
    centre = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2
    inside = (centre[:, None] >= regions[None, :, :2]) & (centre[:, None] <= regions[None, :, 2:])
    same = found.class_id[:, None] == class_id[None]
    result: NDArray[np.bool_] = (inside.all(axis=2) & same).any(axis=1)
    return result


def _rounded(box: Sequence[float]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(value, 1) for value in box)
    return x1, y1, x2, y2
