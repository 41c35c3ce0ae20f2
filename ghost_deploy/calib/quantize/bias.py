"""Bias correction: what quantization shifts a convolution's output by on average, taken back.

Rounding weights and activations moves the mean of each output channel. The shift is measured
against the float model on calibration images and subtracted from the bias (Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", the empirical form of
appendix D). Layers are corrected from the input to the output, each with everything before it
corrected: corrected all at once they would take back the same shift again and again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.calib.graph.paired_run import Feeds, Progress, Walk
from ghost_deploy.calib.graph.parameters import bias_of, on_grid, set_parameters, weight_of

__all__ = ["correct_bias"]


def correct_bias(
    model: ModelProto,
    quantized: ModelProto,
    weight_scales: Mapping[str, NDArray[np.float32]],
    feeds: Feeds,
    *,
    reference: ModelProto | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> ModelProto:
    """The float model with the biases that its quantized form needs.

    Args:
        model: to correct.
        quantized: its Q/DQ form.
        weight_scales: (out,) of the convolutions with int8 weights, as `QdqGraph` has them.
        feeds: calibration images; a few dozen are enough for a mean.
        reference: the float model whose means are right; `model` when None. Another one after
            weights were rounded.
        threads: of ONNX Runtime; 0 for its choice.
        progress: told before each stage.

    Raises:
        InputError: no images, or a quantized form of another model.
        BackendError: ONNX Runtime cannot run a part.
    """
    walk = Walk(reference or model, quantized, feeds, threads=threads)
    weights = {
        name: on_grid(weight_of(model, name), scales) for name, scales in weight_scales.items()
    }
    biases = {}
    for stage, names in enumerate(walk.stages):
        if progress:
            progress("correcting biases", stage, len(walk.stages))
        seen = walk.see(stage)
        old = {name: bias_of(model, name) for name in names}
        outputs = walk.run(seen, weights, old)
        for name in names:
            pairs = zip(outputs[name], seen[name].outputs, strict=True)
            shift = np.mean([(y - truth).mean((0, 2, 3), np.float64) for y, truth in pairs], 0)
            biases[name] = (old[name] - shift).astype(np.float32)
            outputs[name] = [y - shift[:, None, None].astype(np.float32) for y in outputs[name]]
        walk.settle(stage, outputs)
    return set_parameters(model, {}, biases)
