"""What sinks make of a result: a JSON-ready record, a file name, an annotated image."""

from __future__ import annotations

import os
import re
import threading
import time
from datetime import datetime, timezone
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.draw import draw
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.jsonl_writer import JSONL_SCHEMA

_UNSAFE = re.compile(r"[^\w.-]+")


def captured_at(frame: Frame) -> datetime:
    """When the frame was captured, in UTC, by the present setting of the wall clock."""
    since_ns = time.monotonic_ns() - frame.t_capture_ns
    return datetime.fromtimestamp((time.time_ns() - since_ns) / 1e9, timezone.utc)


def result_record(result: Result) -> dict[str, Any]:
    """A result as a JSON-ready record; boxes in source pixels, times in milliseconds.

    `frame` counts the frames of the source from 0, those that did not decode too; `position_s` is
    the time of the frame in its video, seconds, and null if it is of no video.

    Where objects are tracked, a detection has a `track_id`, null while it is unconfirmed.
    """
    return {
        # A file name that is not UTF-8 holds surrogates, which JSON cannot.
        "source": os.fsencode(result.frame.source).decode("utf-8", "replace"),
        "source_id": result.source,
        "index": result.frame.index,
        "frame": result.frame.index,
        "position_s": result.frame.position_s,
        "time": captured_at(result.frame).isoformat(timespec="milliseconds"),
        "age_ms": result.age_ms,
        "timings_ms": dict(result.timings_ms),
        "size_hw": result.frame.size_hw,
        "detections": result.detections.to_dicts(),
    }


def result_message(result: Result) -> bytes:
    """A result as JSON text, in the form of a line of `JsonlSink`."""
    return msgspec.json.encode({"schema": JSONL_SCHEMA, **result_record(result)})


def file_stem(source: str) -> str:
    """A file name without suffix for a source: no separators, not hidden, never empty."""
    return _UNSAFE.sub("_", source).strip("._") or "source"


class Annotator:
    """Annotates each result once for all sinks that share it. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: tuple[Result, NDArray[np.uint8]] | None = None

    def __call__(self, result: Result) -> NDArray[np.uint8]:
        """Return the annotated image of `result`: (H, W, 3) uint8 BGR, not to be changed."""
        with self._lock:
            if self._last is None or self._last[0] is not result:
                self._last = result, draw(result.frame, result.detections)
            return self._last[1]


class DetectionGate:
    """Passes results with detections, at most one of each source in an interval.

    Args:
        every_s: least time between two captures that pass, seconds; 0 passes all.
    """

    def __init__(self, every_s: float) -> None:
        self._every_ns = round(every_s * 1e9)
        self._passed_ns: dict[str, int] = {}

    def would_admit(self, result: Result) -> bool:
        """Whether this result would pass now."""
        now, last = result.frame.t_capture_ns, self._passed_ns.get(result.source)
        return bool(len(result.detections)) and (last is None or now - last >= self._every_ns)

    def admits(self, result: Result) -> bool:
        """Whether this result passes; the interval then begins anew."""
        passes = self.would_admit(result)
        if passes:
            self._passed_ns[result.source] = result.frame.t_capture_ns
        return passes
