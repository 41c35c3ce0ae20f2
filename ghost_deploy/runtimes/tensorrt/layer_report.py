"""Types, precisions and formats of an engine's layers, as reported by the engine inspector.

The JSON differs between versions and its terms are not documented: on 8.5 to 10 a tensor has
`Format/Datatype`, e.g. `Row major linear FP32`; 11 has `Format` and `Datatype` apart, and calls
the `Bindings` `I/O Tensors`. Terms that are not recognized are reported as unknown.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from ghost_deploy.runtimes.tensorrt.compat import TensorrtApi

UNKNOWN = "unknown"

_TYPES = (
    ("int8", r"\b(Int8|kINT8)\b"),
    ("uint8", r"\b(UInt8|kUINT8)\b"),
    ("bf16", r"\b(BF16|BFloat16|kBF16)\b"),
    ("fp8", r"\b(FP8|kFP8)\b"),
    ("fp16", r"\b(FP16|Half|Float16|kHALF)\b"),
    ("int32", r"\b(Int32|kINT32)\b"),
    ("int64", r"\b(Int64|kINT64)\b"),
    ("bool", r"\b(Bool|kBOOL)\b"),
    ("fp32", r"\b(FP32|Float|Float32|kFLOAT)\b"),
)


class EngineLayer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A layer of the built engine.

    Attributes:
        name: assigned by TensorRT from the nodes that it fused.
        type: e.g. `CaskConvolution`, `Reformat`; empty if the engine has names only.
        precision: of its first input, in which it computes; `unknown` if not reported.
        inputs, outputs: types and formats of its tensors.
    """

    name: str
    type: str = ""
    precision: str = UNKNOWN
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def reformats(self) -> bool:
        """Whether it only converts data to another format or type."""
        return "reformat" in f"{self.type} {self.name}".lower()


class LayerReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All layers in execution order, and the version of TensorRT."""

    version: str
    layers: tuple[EngineLayer, ...]

    @property
    def precisions(self) -> dict[str, int]:
        """Number of layers by precision, without those that only reformat."""
        counted = Counter(layer.precision for layer in self.layers if not layer.reformats)
        return dict(sorted(counted.items()))

    @property
    def reformats(self) -> int:
        """Number of layers that only reformat."""
        return sum(layer.reformats for layer in self.layers)

    def summary(self) -> str:
        """A summary in one line."""
        counts = ", ".join(f"{count} in {name}" for name, count in self.precisions.items())
        return f"{len(self.layers)} layers: {counts or 'none'}; {self.reformats} only reformat"


def inspect_engine(api: TensorrtApi, engine: Any) -> LayerReport:
    """The report of an engine that was built with detailed profiling verbosity."""
    inspector = engine.create_engine_inspector()
    form = api.module.LayerInformationFormat.JSON
    return read_report(inspector and inspector.get_engine_information(form), api.text)


def read_report(text: str | None, version: str) -> LayerReport:
    """Read the inspector's JSON; None or another text gives a report without layers."""
    try:
        document = json.loads(text or "")
    except (ValueError, RecursionError):
        document = {}
    entries = document.get("Layers", []) if isinstance(document, dict) else []
    return LayerReport(version=version, layers=tuple(map(_layer, entries)))


def _layer(entry: Any) -> EngineLayer:
    if not isinstance(entry, Mapping):
        return EngineLayer(name=str(entry))
    inputs, outputs = (_formats(entry.get(side)) for side in ("Inputs", "Outputs"))
    told = [_type_of(text) for text in (*inputs[:1], *outputs[:1])]
    return EngineLayer(
        name=str(entry.get("Name", "")),
        type=str(entry.get("LayerType", "")),
        precision=next((name for name in told if name != UNKNOWN), UNKNOWN),
        inputs=inputs,
        outputs=outputs,
    )


def _formats(tensors: Any) -> tuple[str, ...]:
    if not isinstance(tensors, list):
        return ()
    return tuple(_format(tensor) for tensor in tensors if isinstance(tensor, Mapping))


def _format(tensor: Mapping[str, Any]) -> str:
    keys = ("Format/Datatype", "Datatype", "Format")
    return " ".join(str(tensor[key]) for key in keys if key in tensor)


def _type_of(text: str) -> str:
    return next((name for name, words in _TYPES if re.search(words, text, re.IGNORECASE)), UNKNOWN)
