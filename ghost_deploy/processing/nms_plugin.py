"""NumPy reference of TensorRT's EfficientNMS plugin."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import EFFICIENT_NMS_SCORE, ModelSpec
from ghost_deploy.processing.decode import decode_dfl
from ghost_deploy.processing.nms import nms

MAX_CANDIDATES = 4096
"""Maximum number of candidates of the plugin (NVIDIA/TensorRT, efficientNMSParameters.h)."""


def efficient_nms(
    output: NDArray[Any], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Compute the output of a graph of `export.efficient_nms` for one image.

    Semantics of NVIDIA/TensorRT, plugin/efficientNMSPlugin/efficientNMSInference.cu, with the
    attributes that the export sets: the best class of each anchor, scores of at least
    `EFFICIENT_NMS_SCORE`, NMS per class or over all, best first. Only the order of equal scores may
    differ.

    Args:
        output: (4 + classes, A) float32 of the decoder `dfl`.
        spec: of the model with the NMS.
        size_hw: (height, width) of the model's input, pixels.

    Returns:
        (max_det, 6): xyxy in input pixels, score, class id; unused rows are zero.
    """
    # The threshold is inclusive in the plugin and exclusive in the decoder.
    floor = float(np.nextafter(np.float32(EFFICIENT_NMS_SCORE), np.float32(0)))
    found = decode_dfl(output, spec, size_hw, floor, False)
    best = np.argsort(-found.score, kind="stable")[:MAX_CANDIDATES]
    xyxy, score, class_id = found.xyxy[best], found.score[best], found.class_id[best]
    limits = spec.thresholds
    kept = nms(xyxy, score, class_id, limits.iou, limits.max_det, agnostic=limits.agnostic)
    rows = np.zeros((limits.max_det, 6), np.float32)
    rows[: len(kept)] = np.column_stack((xyxy[kept], score[kept], class_id[kept]))
    return rows
