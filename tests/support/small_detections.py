"""Small builders that the tests of this room share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec

SIDE = 64
STRIDES = (8, 16, 32)
ANCHORS = sum((SIDE // stride) ** 2 for stride in STRIDES)


def detections(rows: Sequence[Sequence[float]]) -> Detections:
    """Of rows x1 y1 x2 y2 score class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5])


def toy_spec(**changes: object) -> ModelSpec:
    """Two classes at 64 x 64, decoder `dfl`."""
    values: dict[str, object] = {
        "name": "toy",
        "family": "toy",
        "class_names": ("cat", "dog"),
        "input": InputSpec(size_hw=(SIDE, SIDE)),
        "head": HeadSpec(decoder="dfl", strides=STRIDES),
        **changes,
    }
    return ModelSpec(**values)  # type: ignore[arg-type]


def raw_output(rows: Sequence[Sequence[float]], anchors: int = ANCHORS) -> NDArray[np.float32]:
    """(6, anchors) dfl output of a two-class model: rows x1 y1 x2 y2 score class, one an anchor."""
    output = np.zeros((6, anchors), np.float32)
    for anchor, (x1, y1, x2, y2, score, class_id) in enumerate(rows):
        output[:4, anchor] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        output[4 + int(class_id), anchor] = score
    return output
