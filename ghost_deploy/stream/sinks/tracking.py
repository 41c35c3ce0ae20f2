"""Track objects before the results reach the sinks."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import Sink
from ghost_deploy.stream.track import Tracker


class TrackingSink(Sink):
    """Sets `track_id` of the detections and passes the results on; one tracker for each source.

    Args:
        sinks: that get the results; `close` closes them.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = tuple(sinks)
        self._trackers: defaultdict[str, Tracker] = defaultdict(Tracker)

    def write(self, result: Result) -> None:
        """Track the objects of one result and pass it on."""
        frame = result.frame
        now_s = frame.t_capture_ns / 1e9 if frame.position_s is None else frame.position_s
        ids = self._trackers[result.source].update(result.detections, now_s)
        tracked = replace(result, detections=replace(result.detections, track_id=ids))
        for sink in self._sinks:
            sink.write(tracked)

    def close(self) -> None:
        """Close all sinks, even if one fails."""
        with contextlib.ExitStack() as stack:
            for sink in reversed(self._sinks):
                stack.callback(sink.close)
