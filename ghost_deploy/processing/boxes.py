"""Arithmetic on boxes, float32 throughout.

xyxy is x1 y1 x2 y2, xywh is centre x, centre y, width, height; continuous pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_TINY = np.finfo(np.float32).tiny


def xywh_to_xyxy(xywh: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert boxes from centre and size to corners, (N, 4) float32 to (N, 4) float32."""
    half = xywh[:, 2:] * np.float32(0.5)
    return np.concatenate((xywh[:, :2] - half, xywh[:, :2] + half), axis=1)


def xyxy_to_xywh(xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert boxes from corners to centre and size, (N, 4) float32 to (N, 4) float32."""
    size = xyxy[:, 2:] - xyxy[:, :2]
    return np.concatenate((xyxy[:, :2] + size * np.float32(0.5), size), axis=1)


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of all pairs of boxes.

    Args:
        a: (N, 4) float32 xyxy.
        b: (M, 4) float32 xyxy.

    Returns:
        (N, M) float32 in 0 to 1, without epsilon; the IoU of a box without area is 0.
    """
    ax1, ay1, ax2, ay2 = (column[:, None] for column in a.T)
    bx1, by1, bx2, by2 = b.T
    # Boxes of 1e20 pixels, of a damaged model, have an infinite area: their IoU is 0 or NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        width = np.minimum(ax2, bx2) - np.maximum(ax1, bx1)
        height = np.minimum(ay2, by2) - np.maximum(ay1, by1)
        inter: NDArray[np.float32] = np.maximum(width, np.float32(0), out=width)
        inter *= np.maximum(height, np.float32(0), out=height)
        union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)
        union -= inter
        # The lower bound turns 0 / 0 into 0 and changes no other quotient.
        inter /= np.maximum(union, _TINY, out=union)
    return inter
