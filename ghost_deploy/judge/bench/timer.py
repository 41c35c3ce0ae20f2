"""Times one opened candidate, host to host, in two phases.

`end_to_end` takes images from their files to detections, as a deployment does, and reads the
clock between the stages. `run_alone` runs the model on one tensor repeatedly, as vendors' tools
do: weights stay in the caches and threads awake, so that it is the lower bound of `run`, the
same call within `end_to_end`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.processing.images import read_image
from ghost_deploy.runtimes.base import Runtime, TensorSpec

STAGES = ("decode", "pre", "run", "post", "end_to_end")
"""The stages of `END_TO_END`; the last is the sum of the others."""

Phase = Literal["end_to_end", "run_alone"]

RUN_ALONE: Phase = "run_alone"
END_TO_END: Phase = "end_to_end"
PHASES: tuple[Phase, ...] = (END_TO_END, RUN_ALONE)
Clock = Callable[[], int]
Times = dict[str, int]
"""Nanoseconds by stage, of one request."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """What was timed of one candidate in one turn.

    Attributes:
        phase: what was timed.
        samples: milliseconds by stage, in the order in which they were measured, stream after
            stream.
        images: taken through by all streams together.
        wall_s: from the start of the first to the end of the last.
        cpu_s: processor time that the whole process used meanwhile.
    """

    phase: Phase
    samples: dict[str, list[float]]
    images: int
    wall_s: float
    cpu_s: float


class Stream:
    """One stream of requests to one opened model, which it owns.

    Args:
        runtime: the model.
        spec: its description; without one only `run_alone` can be timed, on random numbers.
        images: files, used in turn, at least one if there is a description.
        batch: images a request.
        size_hw: (height, width) for a dynamic input of a model without description.
        clock: nanoseconds.

    Raises:
        UsageError: no image.
        ShapeError: `spec` does not fit the model.
    """

    def __init__(
        self,
        runtime: Runtime,
        spec: ModelSpec | None,
        images: Sequence[Path],
        *,
        batch: int = 1,
        size_hw: tuple[int, int] = (640, 640),
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self.runtime = runtime
        self.batch = batch
        self._clock = clock
        self._detector = Detector(runtime, spec) if spec else None
        if self._detector and not images:
            raise UsageError("there is no image to measure on", fix="Name a folder with --images")
        self._paths = cycle(images)
        self._feeds = (
            self._prepare(self._detector)
            if self._detector
            else {each.name: _noise(each, (batch, 3, *size_hw)) for each in runtime.inputs}
        )

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What can be timed."""
        return PHASES if self._detector else (RUN_ALONE,)

    def end_to_end(self) -> Times:
        """Take the next images from file to detections."""
        assert self._detector is not None, "a model without description has no detections"
        paths, clock = list(islice(self._paths, self.batch)), self._clock
        start = clock()
        images = [read_image(path) for path in paths]
        decoded = clock()
        feeds, letterboxes = self._detector.preprocess(images)
        prepared = clock()
        outputs = self.runtime.run(feeds)
        computed = clock()
        self._detector.postprocess(outputs, letterboxes)
        end = clock()
        times = (decoded - start, prepared - decoded, computed - prepared, end - computed)
        return dict(zip(STAGES, (*times, end - start), strict=True))

    def run_alone(self) -> Times:
        """Run the model on the tensor of the first images."""
        start = self._clock()
        self.runtime.run(self._feeds)
        return {RUN_ALONE: self._clock() - start}

    def close(self) -> None:
        """Free the model."""
        self.runtime.close()

    def _prepare(self, detector: Detector) -> dict[str, NDArray[Any]]:
        images = [read_image(path) for path in islice(self._paths, self.batch)]
        feeds, _ = detector.preprocess(images)
        return {name: array.copy() for name, array in feeds.items()}


@dataclass(frozen=True)
class CandidateTimer:
    """An opened candidate with its streams.

    Attributes:
        streams: of the same model, at least one.
        clock: nanoseconds.
        cpu_clock: nanoseconds of processor time that this process has used.
    """

    streams: Sequence[Stream]
    clock: Clock = time.perf_counter_ns
    cpu_clock: Clock = time.process_time_ns

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What can be timed."""
        return self.streams[0].phases

    def turn(self, phase: Phase, seconds: float) -> Turn:
        """Time one phase, at least one request on each stream.

        Another candidate left caches and threads in another state, so one request on each stream
        goes first, uncounted but within the time.

        Args:
            phase: what is timed.
            seconds: for how long in all.
        """
        end = self.clock() + round(seconds * 1e9)
        for stream in self.streams:
            _step(stream, phase)()
        cpu, start = self.cpu_clock(), self.clock()
        times = self._concurrently(phase, end)
        wall_s, cpu_s = (self.clock() - start) / 1e9, (self.cpu_clock() - cpu) / 1e9
        return Turn(
            phase=phase,
            samples={name: [round(each[name] / 1e6, 4) for each in times] for name in times[0]},
            images=len(times) * self.streams[0].batch,
            wall_s=wall_s,
            cpu_s=cpu_s,
        )

    def close(self) -> None:
        """Free the models."""
        for stream in self.streams:
            stream.close()

    def _concurrently(self, phase: Phase, end_ns: int) -> list[Times]:
        if len(self.streams) == 1:
            return self._repeat(_step(self.streams[0], phase), end_ns)
        ready = threading.Barrier(len(self.streams))

        def repeat(stream: Stream) -> list[Times]:
            ready.wait()
            return self._repeat(_step(stream, phase), end_ns)

        with ThreadPoolExecutor(len(self.streams)) as pool:
            return [times for found in pool.map(repeat, self.streams) for times in found]

    def _repeat(self, step: Callable[[], Times], end_ns: int) -> list[Times]:
        times = [step()]
        while self.clock() < end_ns:
            times.append(step())
        return times


def _step(stream: Stream, phase: Phase) -> Callable[[], Times]:
    return stream.end_to_end if phase == END_TO_END else stream.run_alone


def _noise(tensor: TensorSpec, shape: tuple[int, ...]) -> NDArray[Any]:
    """Random numbers from 0 to 1 for an input: its batch and dynamic sides are those of `shape`.

    Raises:
        UsageError: it is no batch of images.
    """
    if len(tensor.shape) != len(shape) or np.dtype(tensor.dtype).kind != "f":
        raise UsageError(
            f"the input {tensor.name!r} of a model without description is no batch of images",
            got=f"{tensor.dtype} {tensor.shape}",
            expected="a float tensor (batch, 3, height, width)",
            fix="Make a bundle with: ghost-deploy export CHECKPOINT -o BUNDLE",
        )
    sides = (want if have < 0 else have for have, want in zip(tensor.shape, shape, strict=True))
    return np.random.default_rng(0).random((shape[0], *islice(sides, 1, None))).astype(tensor.dtype)
