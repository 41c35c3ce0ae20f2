"""Results and statistics made up for the tests of the sinks and the web view."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.source_stats import SourceStats

NAMES = ("cat", "dög")
FOUND = Detections([[2, 4, 20, 30], [10, 8, 40, 44]], [0.9, 0.5], [1, 0], NAMES)
NOTHING = Detections.empty(NAMES)
MILLISECOND = 1_000_000


def make_result(
    source: str = "cam1",
    *,
    index: int = 0,
    at_ms: int | None = None,
    size_hw: tuple[int, int] = (48, 64),
    found: Detections = FOUND,
    shade: int = 90,
    age_ms: float = 20.0,
    position_s: float | None = None,
) -> Result:
    """A result with a plain image; `at_ms` is its capture on the monotonic clock."""
    captured_ns = time.monotonic_ns() if at_ms is None else at_ms * MILLISECOND
    label = f"rtsp://***@host/{source}"
    image = np.full((*size_hw, 3), shade, np.uint8)
    frame = Frame(image, "bgr", index, captured_ns, label, position_s)
    return Result(source, label, frame, found, age_ms, {"pre": 2.0, "run": 12.0, "post": 1.0})


@dataclass
class FakeStats:
    """Statistics that a test sets."""

    sources: tuple[SourceStats, ...] = field(default_factory=tuple)

    def __call__(self) -> tuple[SourceStats, ...]:
        return self.sources
