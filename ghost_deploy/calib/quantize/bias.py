"""Bias correction: subtracts the mean shift of each output channel that quantization causes.

The shift is measured against the float model on calibration images (Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", the empirical form of appendix D).
Layers are corrected from the input to the output, each with all earlier layers corrected;
corrected independently, successive layers would compensate the same shift repeatedly.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.paired_run import Feeds, PairedRun
from ghost_deploy.calib.graph.parameters import set_parameters
from ghost_deploy.calib.quantize.weights import on_grid
from ghost_deploy.export.onnx_index import OnnxIndex


def correct_bias(
    model: ModelProto,
    quantized: ModelProto,
    weight_scales: Mapping[str, NDArray[np.float32]],
    feeds: Feeds,
    *,
    threads: int = 0,
) -> ModelProto:
    """The float model with corrected biases.

    Args:
        model: float, to correct; not changed.
        quantized: its Q/DQ model.
        weight_scales: (out,) float32 of the convolutions with int8 weights, by node name.
        feeds: calibration images, (1, 3, H, W) float32 each; a few dozen suffice.
        threads: of ONNX Runtime; 0 for its default.

    Raises:
        InputError: no images, or the quantized form of another model.
        BackendError: ONNX Runtime cannot run a part.
    """
    graph = index_float(model)
    run = PairedRun(model, quantized, feeds, threads=threads)
    weights = {
        name: on_grid(graph.weight(graph.node[name]), scales)
        for name, scales in weight_scales.items()
    }
    biases = {}
    for stage, names in enumerate(run.stages):
        samples = run.sample(stage)
        old = {name: _bias(graph, graph.node[name]) for name in names}
        outputs = run.run(samples, weights, old)
        for name in names:
            pairs = zip(outputs[name], samples[name].outputs, strict=True)
            shift = np.mean([_channel_means(y - wanted) for y, wanted in pairs], 0)
            biases[name] = (old[name] - shift).astype(np.float32)
            outputs[name] = [
                y - shift.reshape(-1, *[1] * (y.ndim - 2)).astype(np.float32) for y in outputs[name]
            ]
        run.advance(stage, outputs)
    return set_parameters(model, {}, biases)


def _channel_means(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mean of each channel of (B, C, ...) values."""
    means: NDArray[np.float64] = values.mean((0, *range(2, values.ndim)), np.float64)
    return means


def _bias(graph: OnnxIndex, conv: NodeProto) -> NDArray[np.float32]:
    """The bias of a convolution, (out,); zeros where it has none."""
    bias = graph.bias(conv)
    return np.zeros(len(graph.weight(conv)), np.float32) if bias is None else bias
