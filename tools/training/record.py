"""The record of a training, written beside the model."""

from __future__ import annotations

import msgspec

from ghost_deploy.core.spec import decode_json
from ghost_deploy.demo.embedded import MODEL_FILE


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of a training; accuracies are 0 to 1, of the float16 weights in the file.

    Attributes:
        name: of the model. sha256: of the checkpoint.
        class_names: by class id.
        size_hw: (height, width) of the input, pixels.
        parameters: number of weights.
        metrics: `mAP50-95`, `mAP50` and `mAP75` on the held-out images.
        classes: mAP50-95 of each class with objects, by name.
        images, boxes: held-out images and their objects.
        training: `command`, `seed`, `data` and `protocol` as text, and `start` if the training
            started from the weights of another checkpoint.
    """

    name: str
    sha256: str
    class_names: tuple[str, ...]
    size_hw: tuple[int, int]
    parameters: int
    metrics: dict[str, float]
    classes: dict[str, float]
    images: int
    boxes: int
    training: dict[str, str]

    @property
    def map50_95(self) -> float:
        """COCO's mean average precision."""
        return self.metrics["mAP50-95"]


def embedded_record() -> ModelRecord:
    """Return the record of `MODEL_FILE`.

    Raises:
        SpecError: the record is damaged.
    """
    file = MODEL_FILE.with_suffix(".json")
    return decode_json(file.read_bytes(), ModelRecord, where=file.name)
