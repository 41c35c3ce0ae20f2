"""Convert what Ultralytics' exporter writes into a file to a model description."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds

_FINAL_VALUES = 6
"""Of a final detection: x1, y1, x2, y2, score, class."""

_LEVELS = ((8, 16, 32), (4, 8, 16, 32), (8, 16, 32, 64))
"""Strides of their heads: default, with P2, with P6."""


def spec_from_header(
    header: Mapping[str, Any], output_shape: Sequence[int] | None, *, where: str
) -> ModelSpec:
    """The description of a detector in a file of Ultralytics' exporter.

    Args:
        header: keys `task`, `names`, `imgsz`, `stride`, `batch`, `channels`, `end2end`, `args`.
        output_shape: of the graph, (B, 4 + classes, anchors) or (B, K, 6); None if unknown.
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
        numbers = {int(key): str(name) for key, name in names.items()}
        if set(numbers) != set(range(len(names))):
            raise ValueError(f"classes of the numbers {sorted(numbers)[:8]}")
        classes = tuple(numbers[number] for number in range(len(names)))
        height, width = (int(side) for side in header["imgsz"])
        stride, batch = int(header.get("stride", 32)), int(header.get("batch", 1))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _unknown(where, f"{type(error).__name__}: {error}", "imgsz, stride, names") from error
    if header.get("channels", 3) != 3:
        raise _unknown(where, f"{header['channels']} channels", "3 channels")
    arguments = header.get("args")
    arguments = arguments if isinstance(arguments, dict) else {}
    dynamic = bool(arguments.get("dynamic"))
    decoder = _decoder(header, bool(arguments.get("nms")), output_shape)
    strides = _levels((height, width), stride, decoder != "dfl", output_shape, where)
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
            decoder=decoder,
            branch="one2one" if decoder == "one2one" else "one2many",
            strides=strides,
        ),
        thresholds=_thresholds(decoder, output_shape),
        trained_with=f"ultralytics {header.get('version', '')}".strip(),
    )


def _decoder(
    header: Mapping[str, Any], has_nms: bool, output_shape: Sequence[int] | None
) -> Literal["dfl", "one2one", "nms"]:
    """What the output holds; older versions do not say that it is final, its shape does.

    No head has as few as 6 anchors, so that rows of 6 values are final detections.
    """
    final = bool(header.get("end2end")) or has_nms
    if output_shape is not None and output_shape[-1] > 0:
        final = output_shape[-1] == _FINAL_VALUES
    if not final:
        return "dfl"
    return "nms" if has_nms else "one2one"


def _thresholds(decoder: str, output_shape: Sequence[int] | None) -> Thresholds:
    if decoder == "nms" and output_shape is not None and output_shape[1] > 0:
        return Thresholds(max_det=output_shape[1])
    return Thresholds()


def _levels(
    size_hw: tuple[int, int],
    stride: int,
    final: bool,
    output_shape: Sequence[int] | None,
    where: str,
) -> tuple[int, ...]:
    fitting = [levels for levels in _LEVELS if levels[-1] == stride]
    if output_shape is not None and not final and output_shape[-1] > 0:
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
        f"the description in {where} is not that of a detector that we can run",
        got=got,
        expected=expected,
        fix="Export the checkpoint with: ghost-deploy export CHECKPOINT -o BUNDLE",
    )
