"""Small model descriptions for the tests."""

from __future__ import annotations

from typing import Any

from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec

BCCD_NAMES = ("RBC", "WBC", "Platelets")


def make_spec(
    size_hw: tuple[int, int] = (64, 64),
    *,
    names: tuple[str, ...] = BCCD_NAMES,
    decoder: Any = "dfl",
    reg_max: int = 16,
    **input_fields: Any,
) -> ModelSpec:
    """A spec with strides 8, 16 and 32."""
    branch: Any = "one2one" if decoder == "one2one" else "one2many"
    return ModelSpec(
        name="model",
        family="yolov8-ghost",
        class_names=names,
        input=InputSpec(size_hw=size_hw, **input_fields),
        head=HeadSpec(decoder=decoder, strides=(8, 16, 32), reg_max=reg_max, branch=branch),
    )
