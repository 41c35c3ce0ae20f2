"""Track objects before the results reach the sinks."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import Sink
from ghost_deploy.stream.track import Tracker


class TrackingSink(Sink):
    """Sets `Result.track_ids` and passes the results on; one tracker for each source.

    Args:
        sinks: that get the results; `close` closes them.
        rate_of: as `VideoSink` takes it.
    """

    def __init__(
        self, sinks: Sequence[Sink], *, rate_of: Callable[[str], float | None] = lambda _: None
    ) -> None:
        self._sinks = tuple(sinks)
        self._rate_of = rate_of
        self._trackers: defaultdict[str, Tracker] = defaultdict(Tracker)

    def write(self, result: Result) -> None:
        """Track the objects of one result and pass it on."""
        frame, rate = result.frame, self._rate_of(result.source)
        now_s = frame.index / rate if rate else frame.t_capture_ns / 1e9
        ids = self._trackers[result.source].update(result.detections, now_s)
        tracked = replace(result, track_ids=ids)
        for sink in self._sinks:
            sink.write(tracked)

    def close(self) -> None:
        """Close all sinks, even if one fails."""
        with contextlib.ExitStack() as stack:
            for sink in reversed(self._sinks):
                stack.callback(sink.close)
