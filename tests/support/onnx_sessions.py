"""ONNX models run directly in ONNX Runtime, without the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.runtimes.ort_float16 import quantized_from_float32, truncates_float16


def run_onnx(model: ModelProto, images: NDArray[Any]) -> list[NDArray[Any]]:
    """All outputs of `model` for its input `images`."""
    if truncates_float16(onnxruntime):
        model = quantized_from_float32(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [
        np.asarray(output) for output in session.run(None, {session.get_inputs()[0].name: images})
    ]
