"""NumPy reference of an NMS inside a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.spec import EMBEDDED_NMS_SCORE, ModelSpec
from ghost_deploy.processing.candidates import Decoder
from ghost_deploy.processing.decode import decode_dfl
from ghost_deploy.processing.decode_anchors import decode_anchors
from ghost_deploy.processing.nms import MAX_NMS, nms

MAX_CANDIDATES = 4096
"""Maximum number of candidates of the plugin (NVIDIA/TensorRT, efficientNMSParameters.h)."""


def embedded_nms(
    output: NDArray[Any], spec: ModelSpec, size_hw: tuple[int, int]
) -> NDArray[np.float32]:
    """Compute the output of a graph of the decoder `nms` or `efficient-nms` for one image.

    The best class of each anchor, scores above `EMBEDDED_NMS_SCORE`, NMS per class or over all,
    best first. `efficient-nms` takes scores equal to it too, and `MAX_CANDIDATES` at most:
    NVIDIA/TensorRT, plugin/efficientNMSPlugin/efficientNMSInference.cu. Only the order of equal
    scores may differ.

    Args:
        output: float32, of the decoder `dfl`, (4 + classes, A), or with anchors, of `anchors`,
            (A, 5 + classes).
        spec: of the model with the NMS.
        size_hw: (height, width) of the model's input, pixels.

    Returns:
        (max_det, 6): xyxy in input pixels, score, class id; unused rows are zero.
    """
    floor, most = EMBEDDED_NMS_SCORE, MAX_NMS
    if spec.head.decoder == "efficient-nms":
        # The threshold is inclusive in the plugin and exclusive in the decoder.
        floor, most = float(np.nextafter(np.float32(floor), np.float32(0))), MAX_CANDIDATES
    found = plain_decoder(spec)(output, spec, size_hw, floor, False)
    best = np.argsort(-found.score, kind="stable")[:most]
    xyxy, score, class_id = found.xyxy[best], found.score[best], found.class_id[best]
    limits = spec.thresholds
    kept = nms(xyxy, score, class_id, limits.iou, limits.max_det, agnostic=limits.agnostic)
    rows = np.zeros((limits.max_det, 6), np.float32)
    rows[: len(kept)] = np.column_stack((xyxy[kept], score[kept], class_id[kept]))
    return rows


def plain_decoder(spec: ModelSpec) -> Decoder:
    """The decoder of the output before the NMS inside the graph."""
    return decode_anchors if spec.head.anchor_sizes else decode_dfl
