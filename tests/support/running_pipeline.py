"""A pipeline on a pretended model, run in a thread, for the tests of the live part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes.fake import FakeRuntime
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import Sink
from ghost_deploy.stream.source_stats import SourceStats
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.source_table import SourceAddress
from tests.support.model_specs import make_spec
from tests.support.numbered_frames import numbered_frame, read_number
from tests.support.waiting import wait_until

SPEC = make_spec((64, 64))
FAST = LivePolicy(open_timeout_s=2.0, read_timeout_s=1.0, retry_s=(0.02, 0.1))
"""Timeouts and delays for tests that lose sources."""


def make_detector(
    before: Callable[[], object] = lambda: None, found: Detections | None = None
) -> Detector:
    """A detector that calls `before` in each run and finds `found` (tensor pixels)."""
    canned = FakeRuntime.for_spec(SPEC, found or Detections.empty())

    def function(feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        before()
        return canned.run(feeds)

    return Detector(FakeRuntime.for_spec(SPEC, function), SPEC)


class Collect(Sink):
    """A sink that keeps what it gets, and the number that each frame carries."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.closed = 0
        self.threads: set[int] = set()

    def write(self, result: Result) -> None:
        self.threads.add(threading.get_ident())
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1

    def of(self, source: int = 0) -> list[Result]:
        return [result for result in list(self.results) if result.source == str(source)]

    def numbers(self, source: int = 0) -> list[int | None]:
        """The number on each frame of a source; None on one that was never sent."""
        return [read_number(result.frame.image) for result in self.of(source)]


class Running:
    """A pipeline that runs in a thread while the block does."""

    def __init__(self, pipeline: Pipeline, sinks: Sequence[Any] | None = None) -> None:
        self.pipeline = pipeline
        self.seen = Collect()
        self.error: BaseException | None = None
        self._sinks = [self.seen] if sinks is None else list(sinks)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def stats(self, source: int = 0) -> SourceStats:
        return self.pipeline.stats()[source]

    def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        """Wait until `condition` is true; if it is not in time, tell where the run stands."""
        wait_until(condition, timeout_s, self.pipeline.stats)

    def wait(self, timeout_s: float = 60.0) -> None:
        """Wait for the end of the run."""
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the run has not ended"

    def _run(self) -> None:
        try:
            self.pipeline.run(self._sinks)
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.pipeline.stop()
        self.wait()
        if self.error is not None and kind is None:
            raise self.error


def run_all(pipeline: Pipeline) -> Collect:
    """Run to the end in this thread."""
    seen = Collect()
    pipeline.run([seen])
    return seen


def assert_exact(stats: Sequence[SourceStats]) -> None:
    """Every captured frame was processed or dropped for a reason, and none twice."""
    for each in stats:
        assert each.captured == each.processed + sum(each.dropped.values()), each


class Script:
    """A source made by a test: its readers yield frame numbers, errors to raise, or functions to
    call first; None ends it."""

    def __init__(self, *attempts: Sequence[Any], is_live: bool = True) -> None:
        kind: Any = "rtsp" if is_live else "video"
        self.source = SourceAddress(kind, "secret", f"script {id(self)}")
        self.opened = 0
        self.closed = 0
        self._attempts = iter(attempts)

    def open(self) -> ScriptReader:
        self.opened += 1
        return ScriptReader(self, next(self._attempts, [None]))


class ScriptReader(Reader):
    """One opened reader of a `Script`."""

    missing = 0
    is_broken = False

    def __init__(self, script: Script, steps: Sequence[Any]) -> None:
        self._script = script
        self._steps = iter(steps)
        self._number = 0
        first = next(iter(steps), None)
        if isinstance(first, Exception):
            raise first

    def grab(self) -> int | None:
        import time

        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if step is None:
                return None
            if callable(step):
                step()
                continue
            self._number = step
            return time.monotonic_ns()
        return None

    def load(self) -> Callable[[], NDArray[np.uint8]]:
        number = self._number
        return lambda: numbered_frame(number)

    def close(self) -> None:
        self._script.closed += 1


def scripted(
    *scripts: Script,
    detector: Detector | None = None,
    policy: LivePolicy = FAST,
    detection_filter: Any = lambda found: found,
) -> Pipeline:
    """A pipeline over scripts."""
    by_label = {script.source.label: script for script in scripts}
    return Pipeline(
        detector or make_detector(),
        [script.source for script in scripts],
        policy,
        detection_filter=detection_filter,
        opener=lambda source, _: by_label[source.label].open(),
    )
