"""The model description in a single model file: ours, or what Ultralytics' exporter wrote.

Ultralytics writes Python literals into the metadata of an ONNX file, and `metadata.yaml` beside an
OpenVINO IR.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ghost_deploy.core.errors import MissingExtraError, SpecError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular
from ghost_deploy.core.spec import MAX_SIDE, InputSpec, ModelSpec
from ghost_deploy.runtimes.base import Runtime, TensorSpec
from ghost_deploy.runtimes.ultralytics_header import spec_from_header

_KEYS = ("task", "names", "imgsz", "stride", "batch", "channels", "end2end", "args")
_BESIDE = "metadata.yaml"
_MAX_LITERAL = 4 << 20
_MAX_BATCH = 16
"""Most images that are run at once in a graph of any batch."""


def description_of(runtime: Runtime, path: Path) -> ModelSpec:
    """The description of the model in `path`, which `runtime` has opened.

    Raises:
        SpecError: there is none, it is damaged, or it is not that of a detector.
        MissingExtraError: PyYAML is needed to read it.
    """
    metadata = runtime.metadata()
    text = metadata.get(ModelSpec.Json)
    if text is not None:
        return ModelSpec.from_json(text, where=f"{ModelSpec.Json} in {path}")
    beside = path.with_name(_BESIDE)
    if "names" in metadata:
        where, header = str(path), _read_literals(metadata)
    elif path.suffix.lower() == ".xml" and beside.is_file():
        where, header = str(beside), _read_yaml(beside)
    else:
        raise SpecError(
            f"{path} carries no model description",
            expected=f"the metadata key {ModelSpec.Json}, or what Ultralytics writes",
            fix="Export the checkpoint with: ghost-deploy export CHECKPOINT -o BUNDLE",
        )
    return _from_header(header, runtime, where)


def _read_literals(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Values that are Python literals; a text that is none stays one."""
    header: dict[str, Any] = dict(metadata)
    for key in _KEYS:
        text = metadata.get(key, "")
        if key != "task" and 0 < len(text) <= _MAX_LITERAL:
            try:
                header[key] = ast.literal_eval(text)
            # Nesting that is too deep is any of the last two, by version.
            except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
                continue
    return header


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        from ghost_deploy.processing.strict_yaml import load_yaml
    except ImportError as error:
        raise MissingExtraError(
            f"the Python package 'PyYAML', which reads {path}, is not installed",
            fix="Install it with: pip install PyYAML",
        ) from error
    try:
        content = load_yaml(read_regular(path, MAX_TEXT_BYTES))
    except (OSError, ValueError) as error:
        raise SpecError(
            f"{path} cannot be read",
            got=" ".join(str(error).split()),
            fix="Export the model again",
        ) from error
    return content if isinstance(content, dict) else {}


def _from_header(header: dict[str, Any], runtime: Runtime, where: str) -> ModelSpec:
    """The description in a header, with the names and the ranges of the graph."""
    source = runtime.inputs[0] if len(runtime.inputs) == 1 else None
    target = runtime.outputs[0] if len(runtime.outputs) == 1 else None
    if source is None or target is None or len(source.shape) != len("bchw"):
        raise SpecError(
            f"the graph of {where} is not that of a detector",
            got=", ".join(f"{t.name} {t.shape}" for t in (*runtime.inputs, *runtime.outputs)),
            expected="one input of four axes, and one output",
            fix="Export the checkpoint with: ghost-deploy export CHECKPOINT -o BUNDLE",
        )
    sides = source.shape[2:]
    if -1 not in sides:
        header = {**header, "imgsz": sides}
    spec = spec_from_header(header, target.shape, where=where)
    head = msgspec.structs.replace(spec.head, output=target.name)
    return msgspec.structs.replace(spec, input=_input_of(spec.input, source, target), head=head)


def _input_of(spec: InputSpec, source: TensorSpec, target: TensorSpec) -> InputSpec:
    """The input in the ranges of the graph: on an axis of any size, half to twice the side."""
    batch = max(source.shape[0], target.shape[0])  # -1 where any fits
    ranges = [
        (side, side) if have > 0 else _range(side, spec.stride)
        for side, have in zip(spec.size_hw, source.shape[2:], strict=True)
    ]
    (low_h, high_h), (low_w, high_w) = ranges
    return msgspec.structs.replace(
        spec,
        name=source.name,
        batch=(batch, batch) if batch > 0 else (1, max(_MAX_BATCH, spec.batch[1])),
        min_hw=(low_h, low_w),
        max_hw=(high_h, high_w),
    )


def _range(side: int, stride: int) -> tuple[int, int]:
    low = max(stride, side // 2 // stride * stride)
    return low, max(side, min(2 * side, MAX_SIDE // stride * stride))
