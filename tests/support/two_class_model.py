"""A detector of two classes at 64x64: its spec, its raw output and its detections, from rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.spec import ModelSpec
from tests.support.model_specs import STRIDES, make_spec

SIDE = 64
ANCHORS = sum((SIDE // stride) ** 2 for stride in STRIDES)


def detections_of(rows: Sequence[Sequence[float]]) -> Detections:
    """Detections from rows x1 y1 x2 y2 score class."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5])


def two_class_spec(**changes: Any) -> ModelSpec:
    """Two classes at 64 x 64, decoder `dfl`."""
    return make_spec((SIDE, SIDE), names=("cat", "dog"), **{"name": "toy", **changes})


def raw_output(rows: Sequence[Sequence[float]], anchors: int = ANCHORS) -> NDArray[np.float32]:
    """(6, anchors) dfl output of a two-class model: rows x1 y1 x2 y2 score class, one an anchor."""
    output = np.zeros((6, anchors), np.float32)
    for anchor, (x1, y1, x2, y2, score, class_id) in enumerate(rows):
        output[:4, anchor] = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        output[4 + int(class_id), anchor] = score
    return output
