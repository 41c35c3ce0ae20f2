"""The result of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.frame import Frame


@dataclass(frozen=True)
class Result:
    """One processed frame of one source.

    Attributes:
        source: short id of the source, constant over the run, e.g. `0`.
        label: the source as the user wrote it, without credentials.
        frame: `Frame.index` counts the frames captured of that source, from 0, over reconnects.
        detections: boxes in pixels of `frame`.
        age_ms: from capture to this result, milliseconds.
        timings_ms: `pre`, `run` and `post`, milliseconds, of the batch that the frame was in.
        track_ids: (N,) int32, the id from 1 of the object that each detection is, within its
            source, and 0 where it has none; None when objects are not tracked.
    """

    source: str
    label: str
    frame: Frame
    detections: Detections
    age_ms: float
    timings_ms: Mapping[str, float]
    track_ids: NDArray[np.int32] | None = None
