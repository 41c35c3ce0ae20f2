"""From a waiting frame to its result: what one worker thread of the pipeline does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ghost_deploy.detections import Detections
from ghost_deploy.detector import Detector
from ghost_deploy.errors import ImageError, UsageError
from ghost_deploy.frame import Frame
from ghost_deploy.stream.capture import Capture
from ghost_deploy.stream.mailbox import Mailboxes, Pending
from ghost_deploy.stream.ordered import Ordered
from ghost_deploy.stream.pacer import Pacer
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Cause, Result

__all__ = ["Filter", "Queue", "Worker"]

Filter = Callable[[Detections], Detections]

_POLL_S = 0.25
_STOPPED: Cause = "stopped"
_BROKEN: Cause = "broken"


@dataclass(frozen=True)
class _Fetched:
    """A frame whose turn it is: the how manyth of the run, of which source, since when."""

    number: int
    source: int
    item: Pending
    since: float


class Queue:
    """What the workers share: the frames to come and their order, the slots, the results."""

    def __init__(
        self, captures: list[Capture], mailboxes: Mailboxes, pacer: Pacer, results: Ordered[Result]
    ) -> None:
        self.captures = captures
        self.mailboxes = mailboxes
        self.pacer = pacer
        self.results = results
        self._turn = threading.Lock()
        self._count = 0

    def fetch(self, max_age_ms: float | None) -> _Fetched | None:
        """The next frame to infer, waiting for one; None when there will be none."""
        with self._turn:
            self.pacer.wait_to_fetch()
            while not self.mailboxes.exhausted:
                taken = self.mailboxes.take(_POLL_S)
                if taken is None:
                    continue
                source, item = taken
                if self._is_old(source, item, max_age_ms):
                    self.captures[source].book.dropped("old")
                    continue
                self._count += 1
                return _Fetched(self._count - 1, source, item, time.monotonic())
            self.pacer.dismiss()
            return None

    def _is_old(self, source: int, item: Pending, max_age_ms: float | None) -> bool:
        if max_age_ms is None or not self.captures[source].source.is_live:
            return False
        return time.monotonic_ns() - item.t_capture_ns > max_age_ms * 1e6


class Worker:
    """Fetches, prepares, infers and hands on frames until there are none.

    While one worker waits for the model, another prepares its next frame.

    Args:
        detector: used by this worker alone, except for a runtime that is `shared`.
        shared: the runtime serves other workers too, whose next run overwrites its outputs.
        queue: shared with the other workers.
        policy: the limits.
        wanted: which detections are handed on.
    """

    def __init__(
        self, detector: Detector, shared: bool, queue: Queue, policy: LivePolicy, wanted: Filter
    ) -> None:
        self.error: Exception | None = None
        self._detector = detector
        self._shared = shared
        self._queue = queue
        self._policy = policy
        self._wanted = wanted

    def run(self) -> None:
        """Work; what goes wrong is kept in `error` and ends the worker."""
        try:
            while (fetched := self._queue.fetch(self._policy.max_age_ms)) is not None:
                self._work(fetched)
        # Whatever a vendor or a sink's mistake raises must reach the one who waits for results.
        except Exception as error:
            self.error = error

    def _work(self, fetched: _Fetched) -> None:
        """Make the result of one frame, and account for the frame whatever happens."""
        capture = self._queue.captures[fetched.source]
        result, cause = None, _STOPPED
        try:
            result = self._result(fetched, capture)
        except ImageError:
            cause = _BROKEN
        except UsageError as error:  # the region is outside this source's picture
            cause = _BROKEN
            capture.fail(error)
        finally:
            handed_on = self._queue.results.put(fetched.number, result)
            if result is None or not handed_on:
                capture.book.dropped(cause)

    def _result(self, fetched: _Fetched, capture: Capture) -> Result:
        item, label = fetched.item, capture.source.label
        try:
            image = item.load()
            frame = Frame(image, index=item.index, t_capture_ns=item.t_capture_ns, source=label)
            left, top, right, bottom = self._region(frame.size_hw)
            feeds, letterboxes = self._detector.preprocess([image[top:bottom, left:right]])
        except BaseException:
            self._queue.pacer.dismiss()
            raise
        prepared = time.monotonic()
        with self._queue.pacer.slot(prepared - fetched.since):
            began = time.monotonic()
            outputs = self._detector.runtime.run(feeds)
            if self._shared:
                outputs = {name: array.copy() for name, array in outputs.items()}
            ran = time.monotonic()
        found = self._detector.postprocess(outputs, letterboxes)[0]
        if left or top:
            shift = np.array([left, top, left, top], np.float32)
            found = Detections(found.xyxy + shift, found.score, found.class_id, found.class_names)
        done = time.monotonic()
        return Result(
            source=capture.book.id,
            label=label,
            frame=frame,
            detections=self._wanted(found),
            age_ms=(time.monotonic_ns() - item.t_capture_ns) / 1e6,
            timings_ms={
                "pre": (prepared - fetched.since) * 1e3,
                "run": (ran - began) * 1e3,
                "post": (done - ran) * 1e3,
            },
        )

    def _region(self, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        roi = self._policy.roi
        return roi.pixels(size_hw) if roi else (0, 0, size_hw[1], size_hw[0])
