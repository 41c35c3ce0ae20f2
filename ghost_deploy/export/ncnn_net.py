"""The files of an NCNN network: layers as text in `.param`, their weights in a row in `.bin`.

Source: Tencent/ncnn, src/net.cpp, src/modelbin.cpp and `load_model` of the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ExportError

CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")
_MAGIC = "7767517"
_FLOAT32, _FLOAT16, _INT8 = 0, 0x01306B47, 0x000D4B38
"""Tags in front of weights that may be stored in several types."""

Sizes: TypeAlias = Callable[["NcnnLayer"], list[tuple[int, bool]]]


@dataclass
class NcnnLayer:
    """A layer.

    Attributes:
        type: of NCNN, e.g. `Convolution`.
        name: unique in the network.
        inputs, outputs: names of blobs.
        params: values by number, as text; an array is one text.
        weights: float32 or int8, in the order of the file.
        tagged: for each of them, whether a tag says its type.
    """

    type: str
    name: str
    inputs: list[str]
    outputs: list[str]
    params: dict[str, str]
    weights: list[NDArray[np.float32] | NDArray[np.int8]] = field(default_factory=list, repr=False)
    tagged: list[bool] = field(default_factory=list, repr=False)

    def number(self, key: int, default: int = 0) -> int:
        """A parameter that is a whole number."""
        return int(self.params.get(str(key), default))


def _weights_and_bias(layer: NcnnLayer) -> list[tuple[int, bool]]:
    return [(layer.number(6), True), *[(layer.number(0), False)] * layer.number(5)]


def _inner_product(layer: NcnnLayer) -> list[tuple[int, bool]]:
    return [(layer.number(2), True), *[(layer.number(0), False)] * layer.number(1)]


def _memory(layer: NcnnLayer) -> list[tuple[int, bool]]:
    sides = [max(1, layer.number(key)) for key in (0, 1, 11, 2)]
    return [(int(np.prod(sides)), layer.number(21, 1) == 0)]


def _scale(layer: NcnnLayer) -> list[tuple[int, bool]]:
    return [(layer.number(0), False)] * (1 + layer.number(1))


def _norm(size: int, affine: int, weights: int = 2) -> Sizes:
    """Of a normalization whose parameters `size` and `affine` say how many weights it has."""
    return lambda layer: [(layer.number(size), False)] * (weights * layer.number(affine, 1))


_WEIGHTS: Mapping[str, Sizes] = {
    "Convolution": _weights_and_bias,
    "ConvolutionDepthWise": _weights_and_bias,
    "Convolution1D": _weights_and_bias,
    "ConvolutionDepthWise1D": _weights_and_bias,
    "Deconvolution": _weights_and_bias,
    "DeconvolutionDepthWise": _weights_and_bias,
    "GroupNorm": _norm(1, 3),
    "InstanceNorm": _norm(0, 2),
    "LayerNorm": _norm(0, 2),
    "RMSNorm": _norm(0, 2, weights=1),
    "Bias": lambda layer: [(layer.number(0), False)],
    "InnerProduct": _inner_product,
    "MemoryData": _memory,
    "Scale": _scale,
    "BatchNorm": lambda layer: [(layer.number(0), False)] * 4,
    "PReLU": lambda layer: [(layer.number(0), False)],
}
"""Number of values of each weight of a layer type, and whether it is tagged."""

_KEEPS_NONE = frozenset(
    {
        *("AbsVal", "BinaryOp", "Clip", "Concat", "CopyTo", "Crop", "Dropout", "ELU", "Eltwise"),
        *("ExpandDims", "Flatten", "GELU", "HardSigmoid", "HardSwish", "Input", "Interp", "MatMul"),
        *("CELU", "Erf", "Exp", "Flip", "GLU", "Log", "LRN", "Pooling1D", "Threshold"),
        *("Mish", "Noop", "Padding", "Permute", "PixelShuffle", "Pooling", "Power", "ReLU"),
        *("Reduction", "Reorg", "Reshape", "SELU", "ShuffleChannel", "Sigmoid", "Slice", "Softmax"),
        *("Softplus", "Split", "Squeeze", "Swish", "TanH", "Tile", "UnaryOp"),
    }
)
"""Layer types without weights in the file."""


@dataclass
class NcnnNet:
    """A network, its layers in the order of execution."""

    layers: list[NcnnLayer]

    @classmethod
    def read(cls, param: Path, weights: Path) -> NcnnNet:
        """Read the two files.

        Raises:
            ExportError: they are damaged, or a layer keeps weights in a way that is not known.
        """
        lines = param.read_text(encoding="utf-8").splitlines()
        if len(lines) < 2 or lines[0].strip() != _MAGIC:
            raise _damaged(param, "no NCNN network")
        net = cls([_parse(line, param) for line in lines[2:] if line.strip()])
        data, at = weights.read_bytes(), 0
        for layer in net.layers:
            at = _read_weights(layer, data, at, weights)
        if at != len(data):
            raise _damaged(weights, f"{len(data) - at} bytes that belong to no layer")
        return net

    def write(self, param: Path, *, half: bool = False) -> Path:
        """Write both files; returns the path of the weights, beside `param`.

        Args:
            param: path of the `.param` file.
            half: store float weights that have a tag in float16.
        """
        blobs = sum(len(layer.outputs) for layer in self.layers)
        lines = [_MAGIC, f"{len(self.layers)} {blobs}", *map(_line, self.layers)]
        param.write_text("\n".join(lines) + "\n", encoding="utf-8")
        path = param.with_suffix(".bin")
        with path.open("wb") as file:
            for layer in self.layers:
                for values, tagged in zip(layer.weights, layer.tagged, strict=True):
                    file.write(_stored(values, tagged=tagged, half=half))
        return path

    def rename(self, names: Mapping[str, str]) -> None:
        """Give blobs other names."""
        for layer in self.layers:
            layer.inputs = [names.get(name, name) for name in layer.inputs]
            layer.outputs = [names.get(name, name) for name in layer.outputs]

    @property
    def convolutions(self) -> list[NcnnLayer]:
        """The layers that are convolutions."""
        return [layer for layer in self.layers if layer.type in CONVOLUTIONS]


def is_int8(layer: NcnnLayer) -> bool:
    """Whether NCNN computes a convolution in int8: its parameters say that it has scales."""
    return layer.type in CONVOLUTIONS and layer.number(8) != 0


def read_layers(param: Path) -> list[NcnnLayer]:
    """The layers of a `.param` file, without weights.

    Raises:
        ExportError: it is damaged.
    """
    lines = param.read_text(encoding="utf-8").splitlines()
    return [_parse(line, param) for line in lines[2:] if line.strip()]


def _parse(line: str, where: Path) -> NcnnLayer:
    parts = line.split()
    try:
        sources, results = int(parts[2]), int(parts[3])
        names = parts[4 : 4 + sources + results]
        params = dict(part.split("=", 1) for part in parts[4 + sources + results :])
        return NcnnLayer(parts[0], parts[1], names[:sources], names[sources:], params)
    except (IndexError, ValueError) as error:
        raise _damaged(where, f"the line {line[:80]!r}") from error


def _line(layer: NcnnLayer) -> str:
    counts = f"{layer.type:24} {layer.name:24} {len(layer.inputs)} {len(layer.outputs)}"
    params = [f"{key}={value}" for key, value in layer.params.items()]
    return " ".join((counts, *layer.inputs, *layer.outputs, *params))


def _read_weights(layer: NcnnLayer, data: bytes, at: int, where: Path) -> int:
    """Take the weights of a layer from `data`; returns the position behind them."""
    sizes = _WEIGHTS.get(layer.type)
    if sizes is None:
        if "." in layer.type or ":" in layer.type:  # of PyTorch, left as it was
            raise _damaged(where, f"{layer.type}, for which pnnx has no layer of NCNN")
        if layer.type not in _KEEPS_NONE:
            raise _damaged(where, f"a layer {layer.type}, whose weights have no known form")
        return at
    for count, tagged in sizes(layer):
        if tagged:
            (tag,) = np.frombuffer(data, "<u4", 1, at)
            if tag != _FLOAT32:
                raise _damaged(where, f"weights of {layer.name} that are not float32")
            at += 4
        if at + 4 * count > len(data):
            raise _damaged(where, f"it ends within the weights of {layer.name}")
        layer.weights.append(np.frombuffer(data, "<f4", count, at))
        layer.tagged.append(tagged)
        at += 4 * count
    return at


def _stored(values: NDArray[np.float32] | NDArray[np.int8], *, tagged: bool, half: bool) -> bytes:
    if not tagged:
        return values.astype("<f4").tobytes()
    if values.dtype == np.int8:
        tag, body = _INT8, values.tobytes()
    elif half:
        tag, body = _FLOAT16, values.astype("<f2").tobytes()
    else:
        tag, body = _FLOAT32, values.astype("<f4").tobytes()
    return tag.to_bytes(4, "little") + body + bytes(-len(body) % 4)


def _damaged(where: Path, got: str) -> ExportError:
    return ExportError(
        f"{where.name} cannot be used",
        got=got,
        fix="Report this with the checkpoint's architecture; nothing was written",
    )
