from __future__ import annotations

import threading
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import BackendError, ShapeError, UsageError
from ghost_deploy.judge.bench import timer as timer_module
from ghost_deploy.judge.bench.timer import STAGES, CandidateTimer, Stream
from ghost_deploy.processing.images import read_image
from ghost_deploy.runtimes.base import TensorSpec
from ghost_deploy.runtimes.fake import FakeRuntime
from tests.support.clocks import ManualClock
from tests.support.constant_model import one_class_spec
from tests.support.fake_measurer import MS, fake_runtime

Array = NDArray[Any]


def one_stream(images: list[Path], run_ms: float = 10.0) -> tuple[CandidateTimer, ManualClock]:
    clock = ManualClock()
    stream = Stream(fake_runtime(clock, run_ms), one_class_spec(), images, clock=clock)
    return CandidateTimer([stream], clock=clock, cpu_clock=lambda: 3 * clock.now), clock


def test_no_image() -> None:
    with pytest.raises(UsageError, match="no image"):
        Stream(fake_runtime(ManualClock()), one_class_spec(), [])


def test_a_batch_that_the_model_does_not_take(images: list[Path]) -> None:
    with pytest.raises(ShapeError):
        Stream(fake_runtime(ManualClock()), one_class_spec(), images, batch=2)


def test_a_model_that_breaks(images: list[Path]) -> None:
    def fail(feeds: object) -> dict[str, Array]:
        raise ValueError("no")

    stream = Stream(FakeRuntime.for_spec(one_class_spec(), fail), one_class_spec(), images)
    with pytest.raises(BackendError):
        CandidateTimer([stream]).turn("run_alone", 0.0)
    two = [
        Stream(FakeRuntime.for_spec(one_class_spec(), fail), one_class_spec(), images)
        for _ in range(2)
    ]
    with pytest.raises(BackendError):
        CandidateTimer(two).turn("end_to_end", 0.0)


def test_a_turn_lasts_its_time_and_its_first_request_does_not_count(images: list[Path]) -> None:
    timer, clock = one_stream(images)
    turn = timer.turn("run_alone", 0.1)
    assert turn.samples == {"run_alone": [10.0] * 9}
    assert (turn.images, turn.wall_s, turn.cpu_s) == (9, 0.09, pytest.approx(0.27))
    assert clock.now == 100 * MS


@pytest.mark.parametrize("phase", ["end_to_end", "run_alone"])
def test_a_turn_too_short_for_one_request_has_one(phase: Any, images: list[Path]) -> None:
    turn = one_stream(images)[0].turn(phase, 0.0)
    assert all(len(times) == 1 for times in turn.samples.values())
    assert turn.images == 1


def test_the_stages_end_to_end(images: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    timer, clock = one_stream(images, run_ms=10)
    stream = timer.streams[0]
    detector = stream._detector
    assert detector is not None

    def slow(function: Any, milliseconds: int) -> Any:
        def wrapped(*words: Any) -> Any:
            clock.now += milliseconds * MS
            return function(*words)

        return wrapped

    monkeypatch.setattr(timer_module, "read_image", slow(read_image, 3))
    monkeypatch.setattr(detector, "preprocess", slow(detector.preprocess, 2))
    monkeypatch.setattr(detector, "postprocess", slow(detector.postprocess, 1))
    turn = timer.turn("end_to_end", 0.048)
    expected = {"decode": 3.0, "pre": 2.0, "run": 10.0, "post": 1.0, "end_to_end": 16.0}
    assert turn.samples == {name: [expected[name]] * 2 for name in STAGES}
    assert turn.wall_s == 0.032


def test_images_take_turns(images: list[Path]) -> None:
    seen: list[float] = []

    def look(feeds: Any) -> dict[str, Array]:
        seen.extend(float(row[0, 32, 32]) * 255 for row in feeds["images"])
        return empty.run(feeds)

    spec = one_class_spec((1, 4))
    empty = FakeRuntime.for_spec(spec, Detections.empty())
    stream = Stream(FakeRuntime.for_spec(spec, look), spec, images, batch=2)
    for _ in range(3):
        stream.end_to_end()
    first = round(seen[0])
    assert sorted(map(round, seen)) == [0, 0, 40, 40, 80, 80]
    assert first == 80  # the first two made the tensor of `run_alone`
    stream.run_alone()
    assert [round(value) for value in seen[-2:]] == [0, 40]


def test_streams_run_at_the_same_time(images: list[Path]) -> None:
    together = threading.Barrier(2, timeout=20)  # breaks unless both are inside
    spec = one_class_spec()

    def stream() -> Stream:
        calls, empty = count(), FakeRuntime.for_spec(spec, Detections.empty())

        def meet(feeds: Any) -> dict[str, Array]:
            if next(calls):  # the uncounted requests go one after the other
                together.wait()
            return empty.run(feeds)

        return Stream(FakeRuntime.for_spec(spec, meet), spec, images)

    turn = CandidateTimer([stream(), stream()]).turn("end_to_end", 0.0)
    assert turn.images == 2
    assert len(turn.samples["run"]) == 2


def test_a_model_without_description_is_run_on_noise() -> None:
    seen: list[Array] = []

    def function(feeds: Any) -> dict[str, Array]:
        seen.append(feeds["x"])
        return {"y": np.zeros(1, np.float32)}

    runtime = FakeRuntime(
        [TensorSpec("x", (-1, 3, -1, 96), "float32")], [TensorSpec("y", (1,), "float32")], function
    )
    stream = Stream(runtime, None, [], batch=2, size_hw=(32, 64))
    assert stream.phases == ("run_alone",)
    stream.run_alone()
    assert seen[0].shape == (2, 3, 32, 96)
    assert 0 <= seen[0].min() < seen[0].max() <= 1


@pytest.mark.parametrize("spec", [("x", (1, 10), "float32"), ("x", (1, 3, 8, 8), "uint8")])
def test_an_input_that_is_no_image(spec: Any) -> None:
    runtime = FakeRuntime([TensorSpec(*spec)], [TensorSpec("y", (1,), "float32")], lambda _: {})
    with pytest.raises(UsageError, match="no batch of images"):
        Stream(runtime, None, [])


def test_closing(images: list[Path]) -> None:
    timer, _ = one_stream(images)
    timer.close()
    with pytest.raises(BackendError, match="closed"):
        timer.turn("run_alone", 0.0)
