"""From waiting frames to their results: what one worker thread of the pipeline does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import ImageError, UsageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.detector import Detector
from ghost_deploy.stream.mailbox import Mailboxes, Pending
from ghost_deploy.stream.ordered_buffer import OrderedBuffer
from ghost_deploy.stream.pacer import Pacer
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.source_stats import Cause
from ghost_deploy.stream.sources.capture import Capture

DetectionFilter = Callable[[Detections], Detections]

_POLL_S = 0.25


@dataclass(frozen=True)
class _Fetched:
    """A frame whose turn it is: its index among all frames of the run, and its source."""

    number: int
    source: int
    item: Pending


@dataclass(frozen=True)
class _Loaded:
    """A decoded frame, and the region of it to infer: left, top, right, bottom in pixels."""

    number: int
    capture: Capture
    frame: Frame
    region: tuple[int, int, int, int]


@dataclass
class FrameQueue:
    """What the workers share: waiting frames and their order, the runtime's slots, the results."""

    captures: list[Capture]
    mailboxes: Mailboxes
    pacer: Pacer
    results: OrderedBuffer[Result]
    _turn: threading.Lock = field(default_factory=threading.Lock, init=False)
    _count: int = field(default=0, init=False)

    def fetch(self, policy: LivePolicy) -> list[_Fetched]:
        """Wait for the next frames to infer together; empty when there will be no more."""
        with self._turn:
            self.pacer.wait_to_fetch()
            batch: list[_Fetched] = []
            while not batch and not self.mailboxes.exhausted:
                batch += self._take(_POLL_S, (), policy) or ()
            if not batch:
                self.pacer.dismiss()
            deadline = time.monotonic() + policy.batch_wait_ms / 1e3
            while 0 < len(batch) < policy.batch:
                # One frame of each live source: at the end of the wait a second one would be newer.
                seen = {each.source for each in batch if self.captures[each.source].is_live}
                left_s = deadline - time.monotonic() if self._more_may_come(seen) else 0.0
                more = self._take(max(0.0, left_s), seen, policy)
                if more is None:
                    break
                batch += more
            return batch

    def _take(
        self, timeout: float, without: Collection[int], policy: LivePolicy
    ) -> list[_Fetched] | None:
        """The next frame, an empty list if it is too old, or None if none came in time."""
        # While a batch is being filled, newer frames are not waited for.
        patience_s = 0.0 if without else self.pacer.patience_s
        taken = self.mailboxes.take(timeout, without, patience_s)
        if taken is None:
            return None
        source, item = taken
        if self._is_old(source, item, policy.max_age_ms):
            self.captures[source].counters.dropped("old")
            return []
        self._count += 1
        return [_Fetched(self._count - 1, source, item)]

    def _more_may_come(self, without: Collection[int]) -> bool:
        states = enumerate(capture.counters.state for capture in self.captures)
        return any(state == "live" for source, state in states if source not in without)

    def _is_old(self, source: int, item: Pending, max_age_ms: float | None) -> bool:
        if max_age_ms is None or not self.captures[source].is_live:
            return False
        return time.monotonic_ns() - item.t_capture_ns > max_age_ms * 1e6


class Worker:
    """Fetches, prepares and infers frames and passes their results on until there are none.

    While one worker waits for the model, another prepares its next frames.

    Args:
        detector: used by this worker alone, except for a runtime that is `shared`.
        shared: other workers use the runtime too, and their next run overwrites its outputs.
        queue: shared with the other workers.
        policy: the settings.
        detection_filter: selects the detections that are passed on.
    """

    def __init__(
        self,
        detector: Detector,
        shared: bool,
        queue: FrameQueue,
        policy: LivePolicy,
        detection_filter: DetectionFilter,
    ) -> None:
        self.error: Exception | None = None
        self._detector = detector
        self._shared = shared
        self._queue = queue
        self._policy = policy
        self._filter = detection_filter

    def run(self) -> None:
        """Work until there are no frames; a failure is kept in `error` and ends the worker."""
        try:
            while batch := self._queue.fetch(self._policy):
                self._work(batch)
        # Any error, also of a vendor's library, must reach the caller of the run.
        except Exception as error:
            self.error = error

    def _work(self, batch: list[_Fetched]) -> None:
        """Make the results of a batch, and account for each frame in any case."""
        broken: set[int] = set()
        results: dict[int, Result] = {}
        try:
            results = self._results(batch, broken)
        finally:
            for each in batch:
                result = results.get(each.number)
                stored = self._queue.results.put(each.number, result)
                if result is None or not stored:
                    cause: Cause = "broken" if each.number in broken else "stopped"
                    self._queue.captures[each.source].counters.dropped(cause)

    def _results(self, batch: list[_Fetched], broken: set[int]) -> dict[int, Result]:
        """The result of each frame of the batch by its number, without broken ones."""
        since = time.monotonic()
        try:
            loaded = list(filter(None, (self._load(each, broken) for each in batch)))
            if not loaded:
                self._queue.pacer.dismiss()
                return {}
            crops = [_crop(each) for each in loaded]
            if self._detector.slicing is not None:
                return self._in_slices(loaded, crops, since)
            feeds, letterboxes = self._detector.preprocess(crops)
        except BaseException:
            self._queue.pacer.dismiss()
            raise
        prepared = time.monotonic()
        with self._queue.pacer.slot(prepared - since) as run:
            outputs = self._detector.runtime.run(feeds)
            if self._shared:
                outputs = {name: array.copy() for name, array in outputs.items()}
            ran = time.monotonic()
        found = self._detector.postprocess(outputs, letterboxes)
        timings_ms = {
            "pre": (prepared - since) * 1e3,
            "run": (ran - run.began) * 1e3,
            "post": (time.monotonic() - ran) * 1e3,
        }
        return {
            each.number: self._result(each, own, timings_ms)
            for each, own in zip(loaded, found, strict=True)
        }

    def _in_slices(
        self, loaded: list[_Loaded], crops: list[NDArray[np.uint8]], since: float
    ) -> dict[int, Result]:
        """The results of frames that are detected in slices: many runs for each frame."""
        prepared = time.monotonic()
        # Other workers wait: what a shared runtime returns is read before its next run.
        with self._queue.pacer.slot(prepared - since):
            found = self._detector.detect(crops)
        ran = (time.monotonic() - prepared) * 1e3
        timings_ms = {"pre": (prepared - since) * 1e3, "run": ran, "post": 0.0}
        return {
            each.number: self._result(each, own, timings_ms)
            for each, own in zip(loaded, found, strict=True)
        }

    def _load(self, fetched: _Fetched, broken: set[int]) -> _Loaded | None:
        item, capture = fetched.item, self._queue.captures[fetched.source]
        label = capture.source.label
        try:
            image = item.load()
            frame = Frame(
                image,
                index=item.index,
                t_capture_ns=item.t_capture_ns,
                source=item.name or label,
                position_s=item.position_s,
            )
            return _Loaded(fetched.number, capture, frame, self._region(frame.size_hw))
        except ImageError as error:
            if item.name:
                capture.counters.cannot_read(str(error))
            broken.add(fetched.number)
        except UsageError as error:  # the region is outside the image
            broken.add(fetched.number)
            capture.fail(error)
        return None

    def _result(
        self, loaded: _Loaded, found: Detections, timings_ms: Mapping[str, float]
    ) -> Result:
        left, top = loaded.region[:2]
        if left or top:
            shift = np.array([left, top, left, top], np.float32)
            found = Detections(found.xyxy + shift, found.score, found.class_id, found.class_names)
        return Result(
            source=loaded.capture.counters.id,
            label=loaded.capture.source.label,
            frame=loaded.frame,
            detections=self._filter(found),
            age_ms=(time.monotonic_ns() - loaded.frame.t_capture_ns) / 1e6,
            timings_ms=timings_ms,
            unfiltered=found,
        )

    def _region(self, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        roi = self._policy.roi
        return roi.pixels(size_hw) if roi else (0, 0, size_hw[1], size_hw[0])


def _crop(loaded: _Loaded) -> NDArray[np.uint8]:
    left, top, right, bottom = loaded.region
    return loaded.frame.image[top:bottom, left:right]
