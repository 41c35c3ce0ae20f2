"""Many sources, one model, any number of sinks: frames from capture to result.

    capture threads ─> mailboxes ─> workers (prepare, run, postprocess) ─> ordered ─> sinks
     one for each      one place     one more than the runtime's slots     bounded    the caller's
     source            a source                                                       thread

A new frame of a live source replaces the waiting one, so that the newest is taken next; files wait
for a free place. The caller of `run` starts all threads, watches and ends them.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from ghost_deploy.core.errors import BackendError, InputError, UsageError
from ghost_deploy.detector import Detector
from ghost_deploy.stream.mailbox import Mailboxes
from ghost_deploy.stream.ordered_buffer import OrderedBuffer
from ghost_deploy.stream.pacer import Pacer
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import Sink
from ghost_deploy.stream.source_stats import SourceCounters, SourceStats
from ghost_deploy.stream.sources.capture import Capture
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.source_table import SourceAddress, open_source
from ghost_deploy.stream.worker import DetectionFilter, FrameQueue, Worker

Opener = Callable[[SourceAddress, LivePolicy], Reader]

_POLL_S = 0.1
_WORKER_END_S = 60.0
"""Longest wait for a worker, which ends after its current frames."""
_CAPTURE_END_S = 3.0
_MOST_OPEN_VIDEOS = 4


class Pipeline:
    """One run over live sources, videos and images.

    `is_live`: whether any source is live; `has_images`: whether any is of images.

    Args:
        detector: stays open; it must not be used otherwise during the run.
        sources: at least one. Their ids are their positions, `0`, `1`, ...
        policy: settings for frames and sources.
        detection_filter: selects the detections that are passed on; all by default.
        opener: opens a source; for tests.

    Raises:
        UsageError: there is no source, or the model does not accept the batch of `policy`.
    """

    def __init__(
        self,
        detector: Detector,
        sources: Sequence[SourceAddress],
        policy: LivePolicy | None = None,
        *,
        detection_filter: DetectionFilter = lambda found: found,
        opener: Opener = open_source,
    ) -> None:
        if not sources:
            raise UsageError("there is no source", fix="Name at least one")
        policy = policy or LivePolicy()
        _check_batch(detector, policy)
        self._policy = policy
        self._mailboxes = Mailboxes(len(sources))
        slots, queued = detector.runtime.info.streams, detector.runtime.info.queued
        self.is_live = any(source.is_live for source in sources)
        self.has_images = any(source.kind == "images" for source in sources)
        self._pacer = Pacer(slots, queued=queued, eager=not self.is_live)
        # A worker that finishes before an earlier one stores its result and continues.
        self._results: OrderedBuffer[Result] = OrderedBuffer(room=2 * (slots + 1) * policy.batch)
        turns = threading.Semaphore(_MOST_OPEN_VIDEOS)
        self._captures = [
            Capture(
                i, each, functools.partial(opener, each, policy), self._mailboxes, policy, turns
            )
            for i, each in enumerate(sources)
        ]
        queue = FrameQueue(self._captures, self._mailboxes, self._pacer, self._results)
        self._siblings = _siblings(detector, slots + 1)
        self._workers = [
            Worker(each, each.runtime is detector.runtime, queue, policy, detection_filter)
            for each in self._siblings
        ]
        self._owned = detector.runtime
        self._stop = threading.Event()

    def stats(self) -> tuple[SourceStats, ...]:
        """The counters of all sources now, in their order; from any thread, also after the run."""
        return tuple(capture.counters.stats() for capture in self._captures)

    def time_base_of(self, source: str) -> Fraction | None:
        """Unit of the times of the source of that id if it is a video, seconds, else None."""
        return self._captures[int(source)].time_base

    def address_of(self, source: str) -> SourceAddress:
        """What the source of that id reads."""
        return self._captures[int(source)].source

    def stop(self) -> None:
        """End the run; frames under way are finished. From any thread or signal handler."""
        self._stop.set()

    def run(self, sinks: Sequence[Sink] = (), on_tick: Callable[[], None] = lambda: None) -> None:
        """Run until all sources have ended or `stop` is called; call it once.

        Results reach the sinks in the order in which their frames were fetched, which for each
        source is the order of capture. All sinks are closed at the end in any case.

        Args:
            sinks: called from this thread.
            on_tick: called from this thread about ten times a second.

        Raises:
            InputError: `policy.require_all` is set and a source is missing at the start.
            GhostDeployError: the model or a sink failed.
        """
        threads = [
            threading.Thread(target=worker.run, name=f"worker {i}", daemon=True)
            for i, worker in enumerate(self._workers)
        ]
        with contextlib.ExitStack() as stack:
            stack.callback(self._join_captures)
            for sink in reversed(sinks):
                stack.callback(sink.close)
            stack.callback(self._end_workers, threads)
            for capture in self._captures:
                capture.start()
            for thread in threads:
                thread.start()
            for result in self._flow(threads, on_tick):
                self._counters_of(result).processed(result)
                for sink in sinks:
                    sink.write(result)
        errors = [worker.error for worker in self._workers]
        for error in filter(None, errors + [capture.error for capture in self._captures]):
            raise error

    def _flow(
        self, threads: Sequence[threading.Thread], on_tick: Callable[[], None]
    ) -> Iterator[Result]:
        """Yield the results, and supervise sources and workers meanwhile."""
        next_tick = 0.0
        while True:
            # Checked before the buffer: a worker stores its last result before it ends.
            over = not any(thread.is_alive() for thread in threads)
            result = self._results.get(0.0 if over else _POLL_S)
            if result is not None:
                yield result
            elif over:
                return
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + _POLL_S
                self._watch()
                on_tick()

    def _watch(self) -> None:
        for capture in self._captures:
            capture.watch()
            missing = not capture.counters.was_live and capture.counters.state in {"lost", "failed"}
            if self._policy.require_all and missing:
                raise InputError(
                    f"{capture.source.label} is missing, and all sources are required",
                    got=capture.counters.stats().last_error,
                    fix="Repair it, or run without --require-all",
                )
        if self._stop.is_set() or any(worker.error for worker in self._workers):
            self._close_inputs()

    def _close_inputs(self) -> None:
        """Accept no more frames; waiting ones are dropped, those under way are finished."""
        for capture in self._captures:
            capture.stop()
        for source, _ in self._mailboxes.close():
            self._captures[source].counters.dropped("stopped")
        self._pacer.close()
        for sibling in self._siblings:
            sibling.runtime.hurry()

    def _end_workers(self, threads: Sequence[threading.Thread]) -> None:
        self._close_inputs()
        # Results are left only after a failure.
        for result in self._results.close():
            self._counters_of(result).dropped("stopped")
        deadline = time.monotonic() + _WORKER_END_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            raise BackendError(
                f"the model has not returned for {_WORKER_END_S:g} s",
                fix="Check the device and its driver; the process may have to be killed",
            )
        for sibling in self._siblings:
            if sibling.runtime is not self._owned:
                sibling.close()

    def _join_captures(self) -> None:
        """Wait for reads under way, except those of a silent source.

        All sinks are closed by now, and a supervisor may kill the process ten seconds after its
        signal.
        """
        deadline = time.monotonic() + _CAPTURE_END_S
        for capture in self._captures:
            capture.join(deadline)

    def _counters_of(self, result: Result) -> SourceCounters:
        return self._captures[int(result.source)].counters


def _check_batch(detector: Detector, policy: LivePolicy) -> None:
    most = detector.spec.input.batch[1]
    if policy.batch > most:
        raise UsageError(
            f"the model cannot infer {policy.batch} images at once",
            expected=f"a batch of at most {most}",
            fix="Leave --batch away, or export the model with --dynamic",
        )


def _siblings(detector: Detector, count: int) -> list[Detector]:
    """Make a detector for each of `count` threads: the same model, buffers of its own."""
    runtimes = (detector.runtime.fork() or detector.runtime for _ in range(count))
    own = detector.spec, detector.thresholds, detector.slicing, detector.classes
    return [Detector(runtime, *own) for runtime in runtimes]
