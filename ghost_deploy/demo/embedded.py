"""The trained detector that comes with the package, and what was measured of it.

It was trained on scenes of `ghost_deploy.demo.scenes` by the trainer in the source's `tools`,
with the command that `training` holds. No scene with a seed below `TRAIN_FROM` was learned from.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from ghost_deploy.core.spec import decode_json

__all__ = ["MODEL_FILE", "TRAIN_FROM", "ModelRecord", "embedded_record"]

MODEL_FILE = Path(__file__).with_name("model.safetensors")
"""The checkpoint; `load_checkpoint` takes it like any other."""

TRAIN_FROM = 10_000
"""The seed of the first scene that it learned from. Smaller seeds are for everything else."""


class ModelRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training recorded; accuracies are 0 to 1, of the float16 weights in the file.

    Attributes:
        name: of the model. sha256: of the checkpoint.
        class_names: by class id.
        size_hw: (height, width) of the input, pixels.
        parameters: number of weights.
        metrics: `mAP50-95`, `mAP50` and `mAP75` on the held-out images.
        classes: mAP50-95 of each class with objects, by name.
        images, boxes: held-out images and their objects.
        training: `command`, `seed`, `data` and `protocol` in words, and `start` where the training
            began with the weights of another.
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
    """What was recorded of `MODEL_FILE`.

    Raises:
        SpecError: the record is damaged.
    """
    file = MODEL_FILE.with_suffix(".json")
    return decode_json(file.read_bytes(), ModelRecord, where=file.name)
