"""Results of a pipeline for a loop in the caller's thread."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import Sink
from ghost_deploy.stream.sinks.tracking import TrackingSink
from ghost_deploy.stream.source_stats import Cause, SourceStats

if TYPE_CHECKING:
    from typing_extensions import Self


_LEFT_AT_EXIT_S = 2.0
"""How long the end of the process waits for the threads of a stream that was not closed."""


class ResultStream(Closing, Iterator[Result]):
    """The results of live sources and videos, in the order of capture for each source.

    The first `next` starts the run. It ends when all sources have ended, when the loop is left, or
    by `close`; frames under way are finished, and all threads have ended then. Any thread may read
    results or call `close`; a thread that waits for a result gets none then, as at the end.

    Args:
        pipeline: that is run.
        resources: what is closed with it.
        track: track the objects.
    """

    def __init__(
        self, pipeline: Pipeline, resources: contextlib.ExitStack, *, track: bool = False
    ) -> None:
        self._pipeline = pipeline
        self._resources = resources
        self._handover = _Handover(pipeline)
        sinks: list[Sink] = [self._handover]
        if track:
            sinks = [TrackingSink(sinks)]
        self._failures: list[BaseException] = []
        # The thread does not hold this object, which would never be collected.
        arguments = pipeline, sinks, self._handover, self._failures
        self._thread = threading.Thread(target=_run, args=arguments, name="stream", daemon=True)
        # Reentrant, so that a signal handler may close what its own thread is closing.
        self._lock = threading.RLock()
        self._is_over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Result:
        """The next result.

        Raises:
            StopIteration: there will be none.
            GhostDeployError: the model failed; or, behind the last result, a source failed or
                images cannot be read.
        """
        try:
            self._start()
            result = self._handover.take()
        except BaseException:  # such as KeyboardInterrupt while it waits
            self.close()
            raise
        if result is not None:
            age_ms = (time.monotonic_ns() - result.frame.t_capture_ns) / 1e6
            return replace(result, age_ms=age_ms)
        ended_by_itself = not self._is_over
        self.close()
        if ended_by_itself:
            self._raise_failure()
        raise StopIteration

    def stats(self) -> tuple[SourceStats, ...]:
        """The counters of all sources now, in their order; from any thread, also after the run.

        A result that a newer one of its source replaced before it was read counts as dropped.
        """
        return tuple(map(self._handover.without_replaced, self._pipeline.stats()))

    def close(self) -> None:
        """End the run and wait for its threads; calling it again does nothing."""
        with self._lock:
            self._is_over = True
            self._handover.leave()
            self._pipeline.stop()
            if self._thread.ident is not None and self._thread is not threading.current_thread():
                self._thread.join()
            self._resources.close()

    def __del__(self) -> None:
        # At the end of the process its threads do not run any more, and waiting would never end.
        if not sys.is_finalizing():
            with contextlib.suppress(Exception):
                self.close()

    def _start(self) -> None:
        with self._lock:
            if self._thread.ident is None and not self._is_over:
                self._thread.start()
                _running.add(self)

    def _leave(self) -> None:
        """End the run without waiting for more than a moment."""
        self._handover.leave()
        self._pipeline.stop()
        self._thread.join(_LEFT_AT_EXIT_S)

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._failures[0]
        problems = [
            f"{each.label}: {each.last_error or 'failed'}"
            for each in self._pipeline.stats()
            if each.state == "failed"
        ]
        problems += [text for each in self._pipeline.stats() for text in each.unreadable]
        if problems:
            raise InputError(
                "not all sources could be read",
                got="; ".join(problems),
                fix="All other results came; stats() has the counters of each source",
            )


_running: weakref.WeakSet[ResultStream] = weakref.WeakSet()


@atexit.register
def _leave_all() -> None:
    """Python ends its threads where they next ask for the interpreter; inside C++ code, as that of
    decoders, this aborts the process.
    """
    for stream in list(_running):
        stream._leave()


class _Handover(Sink):
    """Passes results from the pipeline's thread to those that read them.

    One result of each source waits. A newer one of a live source replaces it; the pipeline waits
    with the next one of a file.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._is_live = [pipeline.address_of(each.id).is_live for each in pipeline.stats()]
        self._waiting: dict[str, Result] = {}
        self._replaced: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._is_over = False

    def write(self, result: Result) -> None:
        with self._changed:
            source = result.source
            if self._is_live[int(source)]:
                self._replaced[source] += source in self._waiting
            else:
                self._changed.wait_for(lambda: self._is_over or source not in self._waiting)
            self._waiting[source] = result  # a newer one keeps the turn
            self._changed.notify_all()

    def take(self) -> Result | None:
        """The result whose turn it is; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            if not self._waiting:
                return None
            result = self._waiting.pop(next(iter(self._waiting)))
            self._changed.notify_all()
            return result

    def close(self) -> None:
        """There will be no more results; those that wait can be taken."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def leave(self) -> None:
        """Results are not taken any more."""
        with self._changed:
            self._is_over = True
            self._waiting.clear()
            self._changed.notify_all()

    def without_replaced(self, stats: SourceStats) -> SourceStats:
        """Counters in which a replaced result was dropped, for a newer one."""
        with self._changed:
            replaced = self._replaced[stats.id]
        if not replaced:
            return stats
        cause: Cause = "newer"
        dropped = {**stats.dropped, cause: stats.dropped.get(cause, 0) + replaced}
        return replace(stats, processed=stats.processed - replaced, dropped=dropped)


def _run(
    pipeline: Pipeline,
    sinks: list[Sink],
    handover: _Handover,
    failures: list[BaseException],
) -> None:
    try:
        pipeline.run(sinks)
    except BaseException as error:  # raised in the thread that reads
        failures.append(error)
    finally:
        handover.close()
