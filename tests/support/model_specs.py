"""Small model descriptions for the tests."""

from __future__ import annotations

from typing import Any

from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec

BCCD_NAMES = ("RBC", "WBC", "Platelets")
STRIDES = (8, 16, 32)


def make_spec(
    size_hw: tuple[int, int] = (64, 64),
    *,
    names: tuple[str, ...] = BCCD_NAMES,
    decoder: Any = "dfl",
    reg_max: int = 16,
    strides: tuple[int, ...] = STRIDES,
    anchor_sizes: tuple[tuple[tuple[float, float], ...], ...] = (),
    **fields: Any,
) -> ModelSpec:
    """A spec of a small detector.

    Args:
        size_hw: height and width in pixels.
        names: of the classes.
        decoder, reg_max, strides, anchor_sizes: of the head.
        fields: of `ModelSpec` by name, others of `InputSpec`.
    """
    whole = {key: fields.pop(key) for key in ModelSpec.__struct_fields__ if key in fields}
    branch: Any = "one2one" if decoder.startswith("one2one") else "one2many"
    values: dict[str, Any] = {
        "name": "model",
        "family": "yolov8-ghost",
        "class_names": names,
        "input": InputSpec(size_hw=size_hw, **fields),
        "head": HeadSpec(
            decoder=decoder,
            strides=strides,
            reg_max=reg_max,
            branch=branch,
            anchor_sizes=anchor_sizes,
        ),
        **whole,
    }
    return ModelSpec(**values)
