"""The result of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
        unfiltered: all detections of the model, before those of other classes and below the limits
            of their classes were left out.
        timings_ms: `pre`, `run` and `post`, milliseconds, of the batch that the frame was in.
    """

    source: str
    label: str
    frame: Frame
    detections: Detections
    age_ms: float
    timings_ms: Mapping[str, float]
    unfiltered: Detections | None = None

    @property
    def position_s(self) -> float | None:
        """The time of the frame in its video, seconds; None if it is of no video."""
        return self.frame.position_s
