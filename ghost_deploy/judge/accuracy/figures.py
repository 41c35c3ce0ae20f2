"""What validation measures, as values that go into the report: numbers only, no verdict."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Accuracy", "ClassAccuracy", "HardImage", "Recorded", "ShownBox"]


class ClassAccuracy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One class; all figures 0 to 1, None where the data set has no object of it.

    Attributes:
        name: of the class.
        boxes: objects that count.
        ap50_95: average precision, mean over the ten IoU thresholds.
        ap50: at IoU 0.5.
        recall: the largest recall, mean over the ten IoU thresholds.
        curve: precision at IoU 0.5 and recall 0, 0.01, ... 1, rounded to 4 decimals; empty where
            there is no object, and in the evidence that a bundle keeps.
    """

    name: str
    boxes: int
    ap50_95: float | None
    ap50: float | None
    recall: float | None
    curve: tuple[float, ...] = ()


class Accuracy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well a detector finds what is labelled; all figures 0 to 1.

    Attributes:
        protocol: how it was measured, in words.
        images, boxes: what it was measured on.
        map50_95, map50, map75: COCO's mean average precision over classes with objects.
        recall: COCO's average recall, at most 300 detections an image.
        classes: in the order of the class ids.
    """

    protocol: str
    images: int
    boxes: int
    map50_95: float
    map50: float
    map75: float
    recall: float
    classes: tuple[ClassAccuracy, ...]


class Recorded(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mAP50-95 that a checkpoint records, beside that of this data set.

    Attributes:
        recorded, measured: 0 to 1.
        protocol: how it was measured.
        tolerance: largest difference that agrees, in points (0.01).
        agrees: whether it does.
        sentence: the same for a person.
    """

    recorded: float
    measured: float
    protocol: str
    tolerance: float
    agrees: bool
    sentence: str


class ShownBox(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detection, or a label that no detection found.

    Attributes:
        xyxy: x1 y1 x2 y2, source pixels, rounded to 0.1.
        class_id: from 0.
        score: 0 to 1, rounded to 4 decimals; None for a label.
        state: `found` is a detection of a labelled object (IoU from 0.5 on, same class), `false`
            one of nothing, `ignored` one in a crowd region, `missed` a label.
        alone: a detection whose like the other model does not have.
    """

    xyxy: tuple[float, float, float, float]
    class_id: int
    score: float | None
    state: Literal["found", "false", "ignored", "missed"]
    alone: bool = False


class HardImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image on which a model and its reference differ most, or are most wrong.

    Attributes:
        name: of the file.
        size_hw: (height, width) in pixels.
        row: index of the model among the report's rows.
        differences: detections that only one of the two has.
        reference_wrong, candidate_wrong: false detections and missed labels of each.
        reference, candidate: detections above the model's own threshold, and missed labels.
        jpeg: the picture without boxes, its longer side at most 640 pixels.
    """

    name: str
    size_hw: tuple[int, int]
    row: int
    differences: int
    reference_wrong: int
    candidate_wrong: int
    reference: tuple[ShownBox, ...]
    candidate: tuple[ShownBox, ...]
    jpeg: bytes
