"""What NCNN computes in int8: the convolutions whose layers have scales, with their sizes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ghost_deploy.core.errors import BackendError
from ghost_deploy.export.ncnn_net import NcnnLayer, is_int8, read_layers
from ghost_deploy.runtimes.ncnn_description import NcnnDescription

_WEIGHTED = ("Convolution", "ConvolutionDepthWise", "Deconvolution", "InnerProduct")


def ncnn_kernels(path: Path) -> Iterator[tuple[str, bool, int]]:
    """Name, whether it computes in int8, and multiply-adds of each layer with weights.

    The sizes of their outputs are those of a run.

    Args:
        path: of a `.param` file with its description.

    Raises:
        BackendError: NCNN cannot run the file.
    """
    import ncnn

    layers = [layer for layer in read_layers(path) if layer.type in _WEIGHTED]
    net = ncnn.Net()
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix(".bin"))):
        raise BackendError(f"NCNN cannot load {path}", fix="Make the file again")
    (source,) = NcnnDescription.read(path).inputs
    blank = ncnn.Mat(np.zeros(source.shape[1:], np.float32)).clone()
    with net.create_extractor() as one:
        one.set_light_mode(False)  # keeps what is between the layers
        one.input(source.name, blank)
        for layer in layers:
            code, mat = one.extract(layer.outputs[0])
            if code:
                raise BackendError(f"NCNN cannot run {path}", got=code, fix="Make the file again")
            size = np.array(mat).shape
            del mat  # before the extractor ends
            kind = "int8" if is_int8(layer) else "float"
            yield f"{layer.type} {kind}", is_int8(layer), _macs(layer, size)


def _macs(layer: NcnnLayer, output: tuple[int, ...]) -> int:
    """Multiply-adds: each output element uses the weights of one output channel once."""
    weights = layer.number(2 if layer.type == "InnerProduct" else 6)
    return weights // layer.number(0, 1) * math.prod(output)
