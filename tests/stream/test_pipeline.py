"""The pipeline on scripted sources: order, counters, failures, and the end of a run."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import (
    BackendError,
    ImageError,
    InputError,
    UnavailableError,
    UsageError,
)
from ghost_deploy.detector import Detector
from ghost_deploy.processing.slices import Slicing
from ghost_deploy.runtimes.fake import FakeRuntime
from ghost_deploy.stream.class_filter import ClassFilter
from ghost_deploy.stream.mailbox import Pending
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import Roi
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sources import capture as capture_module
from tests.support.model_specs import make_spec
from tests.support.running_pipeline import (
    FAST,
    Collect,
    Running,
    Script,
    assert_exact,
    make_detector,
    run_all,
    scripted,
)
from tests.support.waiting import wait_until

LOST = InputError("cannot read it", got="gone", fix="Wait")


def test_no_source() -> None:
    with pytest.raises(UsageError, match="no source"):
        Pipeline(make_detector(), [])


def test_a_file_gives_every_frame_in_order() -> None:
    pipeline = scripted(Script(range(50), is_live=False))
    seen = run_all(pipeline)
    assert seen.numbers() == list(range(50))
    assert [result.frame.index for result in seen.results] == list(range(50))
    assert seen.closed == 1
    assert seen.threads == {threading.get_ident()}
    (stats,) = pipeline.stats()
    assert (stats.state, stats.captured, stats.processed) == ("ended", 50, 50)
    assert stats.size_hw == (240, 320)
    assert not stats.dropped


def test_a_slow_sink_holds_a_file_back_and_loses_nothing() -> None:
    class Slow(Collect):
        def write(self, result: Result) -> None:
            time.sleep(0.005)
            super().write(result)

    slow = Slow()
    scripted(Script(range(30), is_live=False)).run([slow])
    assert slow.numbers() == list(range(30))


def test_a_live_source_is_overtaken_and_every_frame_is_accounted_for() -> None:
    gate = threading.Event()
    pipeline = scripted(
        Script([*range(100), gate.set, None]), detector=make_detector(lambda: gate.wait(10))
    )
    seen = run_all(pipeline)
    (stats,) = pipeline.stats()
    assert stats.captured == 100
    # Few were taken before the model was held up; of the others only the newest is left.
    assert 1 <= stats.processed <= 4
    assert stats.dropped == {"newer": 100 - stats.processed}
    assert seen.numbers()[-1] == 99


def test_a_stream_that_floods_does_not_starve_another() -> None:
    flood = Script(itertools.count())
    calm = Script([step for i in range(10) for step in (lambda: time.sleep(0.02), i)])
    with Running(
        scripted(flood, calm, detector=make_detector(lambda: time.sleep(0.004)))
    ) as running:
        running.until(lambda: running.stats(1).state == "ended")
    assert running.stats(1).processed >= 4
    assert_exact(running.pipeline.stats())


def test_frames_that_are_too_old_are_dropped_and_counted() -> None:
    # The first frame occupies the model while the second grows old.
    hold = threading.Event()
    script = Script([0, 1, lambda: hold.wait(10), lambda: time.sleep(0.05), None])
    policy = dataclasses.replace(FAST, max_age_ms=20)
    runs = itertools.count()

    def before() -> None:
        if next(runs) == 0:
            time.sleep(0.1)
            hold.set()

    pipeline = scripted(script, detector=make_detector(before), policy=policy)
    run_all(pipeline)
    (stats,) = pipeline.stats()
    assert_exact([stats])
    assert stats.processed + stats.dropped.get("newer", 0) + stats.dropped.get("old", 0) == 2
    assert stats.dropped


def test_age_is_no_matter_for_a_file() -> None:
    policy = dataclasses.replace(FAST, max_age_ms=0.001)
    pipeline = scripted(Script(range(5), is_live=False), policy=policy)
    assert run_all(pipeline).numbers() == list(range(5))


def test_frames_left_out_by_rate_and_by_motion() -> None:
    policy = dataclasses.replace(FAST, every=2)
    pipeline = scripted(Script(range(10), is_live=False), policy=policy)
    assert run_all(pipeline).numbers() == [0, 2, 4, 6, 8]
    assert pipeline.stats()[0].dropped == {"skipped": 5}
    policy = dataclasses.replace(FAST, skip_still=True)
    pipeline = scripted(Script([7, 7, 7, 9, 9], is_live=False), policy=policy)
    assert run_all(pipeline).numbers() == [7, 9]
    assert pipeline.stats()[0].dropped == {"still": 3}


def test_a_lost_source_is_opened_again_and_no_frame_is_invented() -> None:
    script = Script([LOST], [0, 1, LOST], [LOST], [LOST], [2, None])
    pipeline = scripted(script)
    seen = run_all(pipeline)
    assert None not in seen.numbers()
    (stats,) = pipeline.stats()
    assert (stats.captured, stats.reconnects, stats.state) == (3, 1, "ended")
    assert stats.last_error == "gone"
    assert script.opened == 5
    assert script.closed == 2
    assert_exact([stats])


@pytest.mark.parametrize(("is_live", "times"), [(True, 2), (False, 0)])
def test_memory_goes_back_to_the_system_when_a_camera_is_lost(
    monkeypatch: pytest.MonkeyPatch, is_live: bool, times: int
) -> None:
    given: list[None] = []
    monkeypatch.setattr(capture_module, "return_free_memory", lambda: given.append(None))
    reads = ([0, LOST], [1, None]) if is_live else ([0, 1, None],)
    run_all(scripted(Script(*reads, is_live=is_live)))
    assert len(given) == times


def test_a_file_that_cannot_be_read_has_failed_and_others_go_on() -> None:
    pipeline = scripted(Script([LOST], is_live=False), Script(range(5), is_live=False))
    seen = run_all(pipeline)
    assert seen.numbers(1) == list(range(5))
    assert [each.state for each in pipeline.stats()] == ["failed", "ended"]


def test_what_this_machine_cannot_read_is_not_tried_again() -> None:
    script = Script([UnavailableError("no GStreamer", fix="Install it")])
    pipeline = scripted(script)
    run_all(pipeline)
    assert script.opened == 1
    assert pipeline.stats()[0].state == "failed"


def test_a_source_that_never_comes_fails_when_it_is_given_up() -> None:
    policy = dataclasses.replace(FAST, give_up_s=0.1)
    pipeline = scripted(Script(*([LOST] for _ in range(1000))), policy=policy)
    run_all(pipeline)
    (stats,) = pipeline.stats()
    assert (stats.state, stats.captured, stats.last_error) == ("failed", 0, "gone")


def test_all_sources_may_be_required() -> None:
    policy = dataclasses.replace(FAST, require_all=True)
    there, absent = Script(itertools.count()), Script(*([LOST] for _ in range(1000)))
    seen = Collect()
    with pytest.raises(InputError, match="required"):
        scripted(there, absent, policy=policy).run([seen])
    assert seen.closed == 1
    assert len(run_all(scripted(Script([0, None]), policy=policy)).results) == 1


def test_a_read_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture_module, "_GRACE_S", 0.0)
    release = threading.Event()
    policy = dataclasses.replace(FAST, read_timeout_s=0.2)
    script = Script([0, lambda: release.wait(20), 1, 2], [3, lambda: time.sleep(0.05), None])
    pipeline = scripted(script, policy=policy)
    with Running(pipeline) as running:
        running.until(lambda: running.stats().reconnects == 1)
        running.wait()
        release.set()
    stats = running.stats()
    assert running.seen.numbers() == [0, 3]  # 1 and 2 came from the thread that was left behind
    assert (stats.captured, stats.state) == (2, "ended")
    assert "hangs" in stats.last_error
    wait_until(lambda: script.closed == 2)


def test_stop_finishes_what_is_under_way() -> None:
    started, release = threading.Event(), threading.Event()

    def before() -> None:
        started.set()
        release.wait(10)

    with Running(scripted(Script(itertools.count()), detector=make_detector(before))) as running:
        assert started.wait(10)
        running.pipeline.stop()
        release.set()
        running.wait()
    assert running.seen.closed == 1
    assert running.stats().processed >= 1
    assert_exact(running.pipeline.stats())


def fail(error: Exception) -> Callable[[], Any]:
    def raise_it() -> None:
        raise error

    return raise_it


def test_a_model_that_fails_ends_the_run_and_closes_the_sinks() -> None:
    pipeline = scripted(
        Script(range(100), is_live=False), detector=make_detector(fail(RuntimeError("driver")))
    )
    seen = Collect()
    with pytest.raises(BackendError):
        pipeline.run([seen])
    assert (seen.closed, seen.results) == (1, [])
    assert_exact(pipeline.stats())


@pytest.mark.parametrize("method", ["write", "close"])
def test_a_sink_that_fails_does_not_keep_the_others_open(method: str) -> None:
    bad, good = Collect(), Collect()
    setattr(bad, method, lambda *_: fail(InputError("disk full", fix="Free some space"))())
    pipeline = scripted(Script(range(10), is_live=False))
    with pytest.raises(InputError, match="disk full"):
        pipeline.run([good, bad])
    assert good.closed == 1
    assert_exact(pipeline.stats())


def test_a_mistake_while_reading_is_raised_at_the_end() -> None:
    pipeline = scripted(
        Script([0, fail(KeyError("bug"))], is_live=False), Script(range(5), is_live=False)
    )
    seen = Collect()
    with pytest.raises(KeyError):
        pipeline.run([seen])
    assert seen.numbers(1) == list(range(5))


FOUND = Detections([[8, 8, 40, 24], [30, 30, 60, 60]], [0.9, 0.6], [0, 2])


def test_boxes_of_a_region_are_in_pixels_of_the_image() -> None:
    detector = make_detector(found=FOUND)
    whole = run_all(scripted(Script([0], is_live=False), detector=detector)).results[0]
    policy = dataclasses.replace(FAST, roi=Roi.parse("160,120,224,184"))
    part = run_all(scripted(Script([0], is_live=False), detector=detector, policy=policy))
    # The region has the size of the tensor, so that boxes are moved and not scaled.
    np.testing.assert_allclose(
        part.results[0].detections.xyxy, FOUND.xyxy + np.array([160, 120] * 2), atol=1e-3
    )
    assert part.results[0].frame.size_hw == (240, 320) == whole.frame.size_hw


def test_a_region_outside_one_source_fails_that_source_only() -> None:
    policy = dataclasses.replace(FAST, roi=Roi.parse("1000,1000,1100,1100"))
    pipeline = scripted(Script([0, 1], is_live=False), policy=policy)
    assert run_all(pipeline).results == []
    (stats,) = pipeline.stats()
    assert stats.state == "failed"
    assert_exact([stats])


def test_wanted_classes_and_limits() -> None:
    names = ("RBC", "WBC", "Platelets")
    for wanted, expected in (
        (ClassFilter(names, 0.25), ["RBC", "Platelets"]),
        (ClassFilter(names, 0.25, ["Platelets", "1"]), ["Platelets"]),
        (ClassFilter(names, 0.25, (), {"Platelets": 0.7}), ["RBC"]),
        (ClassFilter(names, 0.95, (), {"2": 0.5}), ["Platelets"]),
    ):
        found = dataclasses.replace(FOUND, class_names=names)
        assert wanted(found).names == expected
    assert ClassFilter(names, 0.25, (), {"WBC": 0.125}).least == 0.125
    with pytest.raises(UsageError, match="no class 'Cell'"):
        ClassFilter(names, 0.25, ["Cell"])


@pytest.mark.parametrize(
    ("classes", "kept"),
    [
        (["a"], {0}),
        (["a, b"], {2}),
        (["a,b"], {0, 1}),
        ([" a , b ,"], {0, 1}),
        (["a, b", "b"], {1, 2}),
        (["a", "3"], {0, 3}),
        (["3,a"], {0, 3}),
    ],
)
def test_a_name_with_a_comma_stays_whole(classes: list[str], kept: set[int]) -> None:
    names = ("a", "b", "a, b", "dog")
    found = Detections([[0, 0, 9, 9]] * 4, [0.9] * 4, [0, 1, 2, 3], names)
    assert set(ClassFilter(names, 0.25, classes)(found).class_id.tolist()) == kept
    with pytest.raises(UsageError, match="no class 'cow'"):
        ClassFilter(names, 0.25, [*classes, "b,cow"])


def test_a_result_tells_its_age_and_times() -> None:
    result = run_all(scripted(Script([0], is_live=False))).results[0]
    assert set(result.timings_ms) == {"pre", "run", "post"}
    assert all(value >= 0 for value in result.timings_ms.values())
    assert result.age_ms >= sum(result.timings_ms.values()) * 0.5
    assert result.source == "0"


def test_preparing_goes_on_while_the_model_runs() -> None:
    """With a model that takes as long as preparing, both overlap: a frame is loaded in a run."""
    running, overlaps = threading.Event(), []

    def before() -> None:
        running.set()
        time.sleep(0.02)
        running.clear()

    script = Script(range(10), is_live=False)
    pipeline = scripted(script, detector=make_detector(before))
    worker_preprocess = pipeline._workers[0]._detector.preprocess

    def preprocess(images: Any) -> Any:
        overlaps.append(running.is_set())
        return worker_preprocess(images)

    pipeline._workers[0]._detector.preprocess = preprocess  # type: ignore[method-assign]
    run_all(pipeline)
    assert any(overlaps)


def counting_detector(sizes: list[int], most: int = 8) -> Detector:
    """A detector of batches whose one box tells the mean of its own image."""
    spec = make_spec((64, 64), batch=(1, most))

    def function(feeds: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        images = feeds["images"]
        sizes.append(len(images))
        output = np.zeros((len(images), 7, spec.head.anchors((64, 64))), np.float32)
        output[:, :4, 0] = 32
        output[:, 4, 0] = images.mean(axis=(1, 2, 3))
        return {"output0": output}

    return Detector(FakeRuntime.for_spec(spec, function), spec)


def test_a_batch_holds_a_frame_of_each_camera_and_changes_no_result() -> None:
    alone: dict[str, list[float]] = {}
    for batch in (1, 4):
        sizes: list[int] = []
        barrier = threading.Barrier(3)
        scripts = [
            Script([step for i in range(5) for step in (barrier.wait, 100 * n + i)])
            for n in range(3)
        ]
        policy = dataclasses.replace(FAST, batch=batch, batch_wait_ms=2000)
        pipeline = scripted(*scripts, detector=counting_detector(sizes), policy=policy)
        seen = run_all(pipeline)
        assert_exact(pipeline.stats())
        assert max(sizes) <= min(batch, 3)
        for n in range(3):
            numbers = seen.numbers(n)
            assert numbers == sorted(numbers)  # type: ignore[type-var]
            for number, result in zip(numbers, seen.of(n), strict=True):
                score = result.detections.score.tolist()
                assert alone.setdefault(str(number), score) == score
    assert max(sizes) >= 2


def test_a_batch_does_not_wait_for_a_camera_that_is_lost() -> None:
    policy = dataclasses.replace(FAST, batch=4, batch_wait_ms=60_000)
    dead = Script(*([LOST] for _ in range(100_000)))
    with Running(
        scripted(Script(itertools.count()), dead, detector=counting_detector([]), policy=policy)
    ) as running:
        running.until(lambda: running.stats().processed >= 10)
    assert_exact(running.pipeline.stats())


def test_a_broken_frame_leaves_its_batch() -> None:
    sizes: list[int] = []
    policy = dataclasses.replace(FAST, batch=4, batch_wait_ms=1000)
    pipeline = scripted(
        Script(range(12), is_live=False), detector=counting_detector(sizes), policy=policy
    )
    read = pipeline._captures[0]._mailboxes.put_in_turn

    def put(source: int, item: Pending) -> bool:
        broken = item.index % 3 == 1
        load = fail(ImageError("cut off", fix="None")) if broken else item.load
        return read(source, dataclasses.replace(item, load=load))

    pipeline._captures[0]._mailboxes.put_in_turn = put  # type: ignore[method-assign]
    seen = run_all(pipeline)
    assert seen.numbers() == [n for n in range(12) if n % 3 != 1]
    assert pipeline.stats()[0].dropped == {"broken": 4}
    assert max(sizes) >= 2


def test_a_model_that_fails_loses_no_frame_of_its_batch_unseen() -> None:
    policy = dataclasses.replace(FAST, batch=4, batch_wait_ms=1000)
    spec = make_spec((64, 64), batch=(1, 4))
    runtime = FakeRuntime.for_spec(spec, lambda _: fail(RuntimeError("driver"))())
    pipeline = scripted(
        Script(range(9), is_live=False), detector=Detector(runtime, spec), policy=policy
    )
    with pytest.raises(BackendError):
        pipeline.run([])
    assert_exact(pipeline.stats())


def test_a_model_of_one_image_takes_no_batch() -> None:
    with pytest.raises(UsageError, match="2 images at once"):
        scripted(Script([0]), policy=dataclasses.replace(FAST, batch=2))


def test_of_many_videos_a_few_are_open_at_a_time() -> None:
    scripts = [Script(range(5), is_live=False) for _ in range(12)]
    pipeline = scripted(*scripts)
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, sum(each.opened - each.closed for each in scripts))

    seen = Collect()
    pipeline.run([seen], look)
    assert len(seen.results) == 60
    assert [each.closed for each in scripts] == [1] * 12
    assert most <= 4
    assert_exact(pipeline.stats())


def test_stopping_ends_videos_that_wait_for_their_turn() -> None:
    gate = threading.Event()
    scripts = [Script([gate.wait, 1], is_live=False) for _ in range(8)]
    with Running(scripted(*scripts)) as running:
        running.until(lambda: sum(each.opened for each in scripts) == 4)
        running.pipeline.stop()
        running.until(lambda: all(each._stop.is_set() for each in running.pipeline._captures))
        gate.set()
        running.wait()
    assert sum(each.opened for each in scripts) == 4


def test_a_frame_is_looked_at_in_slices() -> None:
    """240 x 320: the whole and four slices, each with the same box in pixels of the model."""
    runs: list[None] = []
    plain = make_detector(lambda: runs.append(None), Detections([[20, 20, 40, 40]], [0.9], [0]))
    sliced = Detector(plain.runtime, plain.spec, slicing=Slicing(200, 0.2))
    (result,) = run_all(scripted(Script([0], is_live=False), detector=sliced)).results
    assert len(runs) == 5
    found = np.round(result.detections.xyxy, 1).tolist()
    assert len(found) == 5
    for left, top in ((0, 0), (120, 0), (0, 40), (120, 40)):
        assert [62.5 + left, 62.5 + top, 125 + left, 125 + top] in found
