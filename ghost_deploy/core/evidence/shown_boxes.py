"""Images that show the largest differences and mistakes."""

from __future__ import annotations

from typing import Literal

from ghost_deploy.core.evidence.json_document import Part


class ShownBox(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detection, or a label that no detection found.

    Attributes:
        xyxy: x1 y1 x2 y2, source pixels, rounded to 0.1.
        class_id: from 0.
        score: 0 to 1, rounded to 4 decimals; None for a label.
        state: `found` is a detection of a labelled object (IoU from 0.5 on, same class), `false`
            one of nothing, `ignored` one in a crowd region, `missed` a label.
        alone: a detection that the other model does not have.
    """

    xyxy: tuple[float, float, float, float]
    class_id: int
    score: float | None
    state: Literal["found", "false", "ignored", "missed"]
    alone: bool = False


class HardImage(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image on which a model and its reference differ most, or are most wrong.

    Attributes:
        name: of the file.
        size_hw: (height, width) in pixels.
        row: index of the model among the report's rows.
        differences: detections that only one of the two has.
        reference_wrong, candidate_wrong: false detections and missed labels of each.
        reference, candidate: detections above the model's own threshold, and missed labels.
        jpeg: the image without boxes, its longer side at most 640 pixels.
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
