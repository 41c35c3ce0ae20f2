"""Whether two frames show nearly the same: the image by a hash of its gradients, and the boxes."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.processing.boxes import iou_matrix

_SIDE = 16
HASH_BYTES = _SIDE * _SIDE // 8
"""Length of `image_hash`."""
_MOST_BITS = 20
"""Of 256. Two frames of one scene differ by about 10 in noise and compression; scenes by 100."""
_LEAST_IOU = 0.5
_LEAST_ALIKE = 0.6


def image_hash(image: NDArray[np.uint8]) -> bytes:
    """32 bytes: whether each cell of a 16 x 17 grid is brighter than its right neighbour.

    The difference hash, which survives changes of size, brightness and compression.

    Args:
        image: (H, W, 3) uint8.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    cells = cv2.resize(grey, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(cells[:, :-1] > cells[:, 1:]).tobytes()


def differing_bits(one: bytes, others: NDArray[np.uint8]) -> NDArray[np.intp]:
    """(N,) the number of bits in which each of (N, 32) hashes differs from one."""
    differences = np.bitwise_xor(np.frombuffer(one, np.uint8), others)
    count: NDArray[np.intp] = np.unpackbits(differences, axis=1).sum(axis=1)
    return count


def are_alike(one: Detections, other: Detections) -> bool:
    """Whether most boxes of each of two frames have one of their class at the same place.

    A fixed camera always shows the same image by its hash: only the objects differ. Boxes count by
    their scores.
    """
    if not len(one) or not len(other):
        return len(one) == len(other)
    iou = iou_matrix(one.xyxy, other.xyxy)
    match = (iou > _LEAST_IOU) & (one.class_id[:, None] == other.class_id[None])
    shares = (
        each.score[match.any(axis=axis)].sum() / each.score.sum()
        for each, axis in ((one, 1), (other, 0))
    )
    return bool(min(shares) >= _LEAST_ALIKE)


def near_duplicate(
    key: bytes, boxes: Detections, hashes: NDArray[np.uint8], others: list[Detections]
) -> int | None:
    """The index of the first known frame that shows nearly the same; None if there is none.

    Args:
        key, boxes: `image_hash` of a frame, and its boxes with their weights as scores.
        hashes, others: (N, 32) and N, the same of known frames.
    """
    if not others:
        return None
    close = np.flatnonzero(differing_bits(key, hashes) <= _MOST_BITS)
    return next((int(i) for i in close if are_alike(boxes, others[i])), None)
