"""The trained detector included in the package, and its record.

It was trained on scenes of `ghost_deploy.demo.scenes` with `tools.training` of the source tree; the
record holds the command. Scenes with seeds below `TRAIN_FROM` were not used for training.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ghost_deploy.core.spec import decode_json

MODEL_FILE = Path(__file__).with_name("model.safetensors")
"""The checkpoint, readable by `load_checkpoint`."""

TRAIN_FROM = 10_000
"""Seed of the first training scene; smaller seeds are for evaluation and demos."""


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
