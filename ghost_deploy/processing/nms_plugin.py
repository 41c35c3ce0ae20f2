"""What TensorRT's EfficientNMS plugin makes of a raw output, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import EFFICIENT_NMS_SCORE, ModelSpec
from ghost_deploy.processing.decode import decode_dfl
from ghost_deploy.processing.nms import nms

__all__ = ["MOST_CANDIDATES", "efficient_nms"]

MOST_CANDIDATES = 4096
"""The plugin looks at the best so many (NVIDIA/TensorRT, efficientNMSParameters.h)."""


def efficient_nms(
    output: NDArray[Any], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """The rows that a graph of `export.efficient_nms` gives for one image, (max_det, 6).

    Semantics of NVIDIA/TensorRT, plugin/efficientNMSPlugin/efficientNMSInference.cu, with the
    attributes that we give it: each anchor with its best class, scores from
    `EFFICIENT_NMS_SCORE` on, classes apart, best first. Only of equal scores the order may be
    another one.

    Args:
        output: (4 + classes, A) of the decoder `dfl`.
        spec: of the model with the NMS.
        size_hw: (height, width) of the model's input, pixels.
    """
    # The plugin takes a score equal to the limit, the decoder only a greater one.
    floor = float(np.nextafter(np.float32(EFFICIENT_NMS_SCORE), np.float32(0)))
    found = decode_dfl(output, spec, size_hw, floor, False)
    best = np.argsort(-found.score, kind="stable")[:MOST_CANDIDATES]
    xyxy, score, class_id = found.xyxy[best], found.score[best], found.class_id[best]
    limits = spec.thresholds
    kept = nms(xyxy, score, class_id, limits.iou, limits.max_det)
    rows = np.zeros((limits.max_det, 6), np.float32)
    rows[: len(kept)] = np.column_stack((xyxy[kept], score[kept], class_id[kept]))
    return rows
