"""Many sources, one model, any number of sinks: frames from capture to result.

    capture threads ─> mailboxes ─> workers (prepare, run, postprocess) ─> ordered ─> sinks
     one a source      one place     one more than the runtime's slots     bounded    the caller's
                       a source                                                       thread

Live sources overwrite their place, so that the newest frame is taken next; files wait for room.
The caller of `run` owns all of it: it starts the threads, watches them, and ends them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import BackendError, InputError, UsageError
from ghost_deploy.detector import Detector
from ghost_deploy.stream.counters import SourceBook, StatsBook
from ghost_deploy.stream.mailbox import Mailboxes
from ghost_deploy.stream.ordered import Ordered
from ghost_deploy.stream.pacer import Pacer
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result, Sink, StatsView
from ghost_deploy.stream.sources.capture import Capture
from ghost_deploy.stream.sources.opening import open_reader
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.uri import Source
from ghost_deploy.stream.worker import Filter, Queue, Worker

__all__ = ["Opener", "Pipeline"]

Opener = Callable[[Source, LivePolicy], Reader]

_POLL_S = 0.1
_WORKER_END_S = 60.0
"""A worker ends after the frame that it holds; a run of the slowest model takes less than that."""
_CAPTURE_END_S = 3.0


class Pipeline:
    """One run over live sources, videos and images. `is_live` says whether any source is live.

    Args:
        detector: stays the caller's; it must not be used otherwise while the pipeline runs.
        sources: at least one. Their ids are their positions, `0`, `1`, ...
        policy: what is done with frames, and with sources that are lost.
        wanted: which detections are handed on; all when not given.
        opener: opens a source; for tests.

    Raises:
        UsageError: no source, or a model that does not accept the batch of `policy`.
    """

    def __init__(
        self,
        detector: Detector,
        sources: Sequence[Source],
        policy: LivePolicy | None = None,
        *,
        wanted: Filter | None = None,
        opener: Opener = open_reader,
    ) -> None:
        if not sources:
            raise UsageError("there is no source", fix="Name at least one")
        policy = policy or LivePolicy()
        _check_batch(detector, policy)
        books = [SourceBook(str(i), source.label) for i, source in enumerate(sources)]
        self._stats = StatsBook(books)
        self._policy = policy
        self._mailboxes = Mailboxes(len(sources))
        slots = detector.runtime.info.streams
        self.is_live = any(source.is_live for source in sources)
        self._pacer = Pacer(slots, eager=not self.is_live)
        # A worker that has finished ahead of another may put its result and go on with the next.
        self._results: Ordered[Result] = Ordered(room=2 * (slots + 1) * policy.batch)
        self._captures = [
            Capture(i, source, _bound(opener, source, policy), self._mailboxes, books[i], policy)
            for i, source in enumerate(sources)
        ]
        queue = Queue(self._captures, self._mailboxes, self._pacer, self._results)
        self._siblings = _siblings(detector, slots + 1)
        self._workers = [
            Worker(each, each.runtime is detector.runtime, queue, policy, wanted or _everything)
            for each in self._siblings
        ]
        self._owned = detector.runtime
        self._stop = threading.Event()

    @property
    def stats(self) -> StatsView:
        """The statistics, also after the run."""
        return self._stats

    def rate_of(self, source: str) -> float | None:
        """Frames a second at which the source of that id plays if it is a video, else None."""
        return self._captures[int(source)].rate

    def stop(self) -> None:
        """End the run soon: frames under way are finished. From any thread or signal handler."""
        self._stop.set()

    def run(self, sinks: Sequence[Sink] = (), on_tick: Callable[[], None] = lambda: None) -> None:
        """Run until every source is over or `stop` is called; call it once.

        Results reach the sinks in the order in which their frames were fetched, which is the
        order of capture for each source. All sinks are closed at the end, come what may.

        Args:
            sinks: called from this thread.
            on_tick: called from this thread about ten times a second.

        Raises:
            InputError: `policy.require_all` is set and a source was not there at the start.
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
                self._book(result).processed(result)
                for sink in sinks:
                    sink.write(result)
        self._raise_failures()

    def _flow(
        self, threads: Sequence[threading.Thread], on_tick: Callable[[], None]
    ) -> Iterator[Result]:
        """The results, while the sources and workers are watched over."""
        next_tick = 0.0
        while True:
            # Asked before the buffer is: a worker's last result is put before the worker ends.
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
            missing = not capture.book.was_live and capture.book.state in {"lost", "failed"}
            if self._policy.require_all and missing and not self._all_were_live():
                raise InputError(
                    f"{capture.source.label} is not there, and all sources are required",
                    got=capture.book.snapshot().last_error,
                    fix="Mend it, or run without --require-all",
                )
        if self._stop.is_set() or any(worker.error for worker in self._workers):
            self._close_inputs()

    def _close_inputs(self) -> None:
        """Let nothing more in; what waits is dropped, what is under way is finished."""
        for capture in self._captures:
            capture.stop()
        for source, _ in self._mailboxes.close():
            self._captures[source].book.dropped("stopped")
        self._pacer.close()

    def _end_workers(self, threads: Sequence[threading.Thread]) -> None:
        self._close_inputs()
        # After a failure nobody takes results any more; without one all have been taken.
        for result in self._results.close():
            self._book(result).dropped("stopped")
        deadline = time.monotonic() + _WORKER_END_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            raise BackendError(
                f"the model has not come back for {_WORKER_END_S:g} s",
                fix="Check the device and its driver; the process may have to be killed",
            )
        for sibling in self._siblings:
            if sibling.runtime is not self._owned:
                sibling.close()

    def _join_captures(self) -> None:
        """Wait for reads that are under way; one of a silent source is left to end by itself.

        All sinks are closed by now, and who asked for the end may kill the process ten seconds
        later.
        """
        deadline = time.monotonic() + _CAPTURE_END_S
        for capture in self._captures:
            capture.join(deadline)

    def _raise_failures(self) -> None:
        errors = [worker.error for worker in self._workers]
        errors += [capture.error for capture in self._captures]
        for error in errors:
            if error is not None:
                raise error

    def _all_were_live(self) -> bool:
        return all(capture.book.was_live for capture in self._captures)

    def _book(self, result: Result) -> SourceBook:
        return self._captures[int(result.source)].book


def _check_batch(detector: Detector, policy: LivePolicy) -> None:
    most = detector.spec.input.batch[1]
    if policy.batch > most:
        raise UsageError(
            f"the model cannot infer {policy.batch} images at once",
            expected=f"a batch of at most {most}",
            fix="Leave --batch away, or export the model with --dynamic",
        )


def _siblings(detector: Detector, count: int) -> list[Detector]:
    """Detectors with the same model and thresholds for as many threads, each with its buffers."""
    made = []
    for _ in range(count):
        runtime = detector.runtime.fork() or detector.runtime
        made.append(Detector(runtime, detector.spec, detector.thresholds))
    return made


def _bound(opener: Opener, source: Source, policy: LivePolicy) -> Callable[[], Reader]:
    return lambda: opener(source, policy)


def _everything(found: Detections) -> Detections:
    return found
