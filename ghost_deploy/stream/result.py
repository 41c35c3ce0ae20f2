"""What the live pipeline hands on: results, statistics, and the sinks that take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.frame import Frame

__all__ = ["Cause", "Result", "Sink", "SourceStats", "State", "StatsView"]

Cause = Literal["newer", "old", "skipped", "still", "broken", "stopped"]
"""Why a captured frame was not inferred: replaced by a `newer` one while it waited, `old` beyond
the age limit, `skipped` by the rate limits, `still` by the motion gate, `broken` because it does
not decode, or held when the run was `stopped`."""

State = Literal["connecting", "live", "lost", "ended", "failed"]
"""Where a source stands: `lost` is being opened again, `ended` and `failed` are final."""


@dataclass(frozen=True)
class Result:
    """One processed frame of one source.

    Attributes:
        source: short id of the source that stays the same over the run, e.g. `cam1`.
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


@dataclass(frozen=True)
class SourceStats:
    """The counters of one source at one moment.

    `captured` is `processed` plus the sum of `dropped` plus the frames under way, which are none
    once the run is over.

    Attributes:
        id: as `Result.source`.
        label: as `Result.label`.
        state: where the source stands.
        captured: frames received.
        processed: frames inferred and handed to the sinks.
        dropped: frames not inferred, by cause; a cause that never struck is absent.
        reconnects: how often a source that had been lost came back.
        last_frame_age_ms: since the capture of the last frame; None before the first.
        fps: results a second, over the last seconds.
        age_p50_ms, age_p99_ms: percentiles of `Result.age_ms` over the last results; None before
            the first.
        size_hw: of the last frame; None before the first.
        last_error: why it was last lost, without credentials; empty when it never was.
    """

    id: str
    label: str
    state: State = "connecting"
    captured: int = 0
    processed: int = 0
    dropped: Mapping[Cause, int] = field(default_factory=dict)
    reconnects: int = 0
    last_frame_age_ms: float | None = None
    fps: float = 0.0
    age_p50_ms: float | None = None
    age_p99_ms: float | None = None
    size_hw: tuple[int, int] | None = None
    last_error: str = ""


class Sink(Protocol):
    """Takes results. Called from one thread; `close` once, after the last `write`."""

    def write(self, result: Result) -> None:
        """Take one result. The frame's image is not changed and may be kept."""

    def close(self) -> None:
        """Flush and release what is held."""


class StatsView(Protocol):
    """A look at the statistics of a running pipeline, from any thread."""

    def snapshot(self) -> tuple[SourceStats, ...]:
        """The counters of every source, in the order of the sources."""
