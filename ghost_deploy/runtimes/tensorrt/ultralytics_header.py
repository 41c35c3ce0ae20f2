"""Convert the header of an Ultralytics engine to a model description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec

_LEVELS = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64))
"""Strides of their heads: default, with P2, with P6."""


def spec_from_header(
    header: Mapping[str, Any], output_shape: Sequence[int] | None, *, where: str
) -> ModelSpec:
    """The description of a detector in an Ultralytics engine.

    Args:
        header: keys `task`, `names`, `imgsz`, `stride`, `batch`, `end2end`, `args`.
        output_shape: of the engine, (B, 4 + classes, anchors) or (B, K, 6); None if unknown.
        where: the file, for messages.

    Raises:
        SpecError: not a detector, or its head cannot be determined.
    """
    if header.get("task") != "detect":
        raise _unknown(where, f"task {header.get('task')!r}", "task 'detect'")
    names = header.get("names")
    if not isinstance(names, dict) or not names:
        raise _unknown(where, f"names {names!r:.60}", "class names by number")
    try:
        classes = tuple(str(names[key]) for key in sorted(names, key=int))
        height, width = (int(side) for side in header["imgsz"])
        stride, batch = int(header.get("stride", 32)), int(header.get("batch", 1))
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown(where, f"{type(error).__name__}: {error}", "imgsz, stride, names") from error
    end_to_end = bool(header.get("end2end"))
    arguments = header.get("args")
    dynamic = isinstance(arguments, dict) and bool(arguments.get("dynamic"))
    strides = _levels((height, width), stride, end_to_end, output_shape, where)
    return ModelSpec(
        name=str(header.get("description", "engine")),
        family="",
        class_names=classes,
        input=InputSpec(
            size_hw=(height, width),
            stride=stride,
            batch=(1 if dynamic else batch, batch),
        ),
        head=HeadSpec(
            decoder="one2one" if end_to_end else "dfl",
            branch="one2one" if end_to_end else "one2many",
            strides=strides,
        ),
        trained_with=f"ultralytics {header.get('version', '')}".strip(),
    )


def _levels(
    size_hw: tuple[int, int],
    stride: int,
    end_to_end: bool,
    output_shape: Sequence[int] | None,
    where: str,
) -> tuple[int, ...]:
    fitting = [levels for levels in _LEVELS if levels[-1] == stride]
    if output_shape is not None and not end_to_end and output_shape[-1] > 0:
        height, width = size_hw
        counted = [
            levels
            for levels in fitting
            if sum((height // s) * (width // s) for s in levels) == output_shape[-1]
        ]
        fitting = counted
    if not fitting:
        raise _unknown(where, f"stride {stride}, output {output_shape}", "a head of 3 or 4 levels")
    return fitting[0]


def _unknown(where: str, got: str, expected: str) -> SpecError:
    return SpecError(
        f"the header of {where} does not describe a detector that we can run",
        got=got,
        expected=expected,
        fix="Export the checkpoint with ghost-deploy and build its bundle",
    )
