"""How doubtful detections are: how close their scores are to the thresholds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.detector import Detector

_SHARE = 0.5
_LEAST = 0.01
_MOST = 0.999


def doubts(found: Detections, limits: Sequence[float]) -> NDArray[np.float64]:
    """(N,) 0 to 1 for each detection: 1 at the threshold of its class, 0 from half of it down and
    from half way to 1 up; of a class that is not kept, 0.

    Args:
        found: detections, also below their thresholds.
        limits: the threshold of each class, exclusive; 1 or more for a class that is not kept.
    """
    limit = np.minimum(np.asarray(limits, np.float64), 1)[found.class_id]
    score = found.score.astype(np.float64)
    width = np.where(score > limit, 1 - limit, limit) * _SHARE
    result = np.clip(1 - np.abs(score - limit) / np.maximum(width, 1e-9), 0, 1)
    return np.where(limit < 1, result, 0.0)


def lowered_detector(detector: Detector, limits: Sequence[float]) -> Detector:
    """A detector of the same runtime that also finds what is doubtful.

    Args:
        detector: keeps the runtime.
        limits: the threshold of each class; 1 or more for a class that is not kept.
    """
    lower = tuple(min(_MOST, max(_LEAST, limit * _SHARE)) for limit in limits)
    thresholds = replace(detector.thresholds, class_conf=lower)
    own = detector.spec, thresholds, detector.slicing, detector.classes
    return Detector(detector.runtime, *own)
