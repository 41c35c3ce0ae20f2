"""Live runs over HTTP cameras that fail in every way that cameras do."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest

from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.sources.uri import parse_source
from tests.support.camera_servers import MjpegCamera, part
from tests.support.running_pipeline import FAST, Running, assert_exact, make_detector
from tests.support.waiting import wait_until


def run(*cameras: MjpegCamera, detector: object = None, policy: object = FAST) -> Running:
    sources = [parse_source(camera.address) for camera in cameras]
    return Running(Pipeline(detector or make_detector(), sources, policy))  # type: ignore[arg-type]


def test_every_frame_is_one_that_was_sent_and_the_counters_are_exact() -> None:
    with MjpegCamera() as camera:
        camera.last = 40
        with run(camera) as running:
            running.until(lambda: running.stats().captured == 41)
            camera.stop()  # a silent camera would hold up the end
    numbers = running.seen.numbers()
    assert numbers == sorted(set(numbers))  # type: ignore[type-var]
    assert running.stats().captured == len(camera.sent) == 41
    assert_exact(running.pipeline.stats())
    assert running.stats().reconnects == 0


def test_a_slow_model_gets_the_newest_frame() -> None:
    with (
        MjpegCamera(fps=100) as camera,
        run(camera, detector=make_detector(lambda: time.sleep(0.1))) as running,
    ):
        running.until(lambda: running.stats().processed >= 8)
    assert_exact(running.pipeline.stats())
    stats = running.stats()
    assert stats.dropped["newer"] > 2 * stats.processed
    # Waiting of one frame at most, being prepared and inferred: no backlog has built up.
    lag = [camera.sent[-1] - number for number in running.seen.numbers()[-1:] if number is not None]
    assert lag
    assert lag[0] < 60


def test_a_camera_killed_and_restarted_five_times() -> None:
    with MjpegCamera() as camera, run(camera) as running:
        for restart in range(5):
            target = running.stats().processed + 5
            running.until(lambda: running.stats().processed >= target)  # noqa: B023
            camera.stop()
            running.until(lambda: running.stats().state == "lost")
            camera.size_hw = (96 + 32 * restart, 320 + 40 * restart)
            camera.start()
        running.until(lambda: running.stats().reconnects == 5)
        target = running.stats().processed + 5
        running.until(lambda: running.stats().processed >= target)
    numbers = running.seen.numbers()
    assert None not in numbers
    assert numbers == sorted(set(numbers))  # type: ignore[type-var]
    assert running.stats().reconnects == 5
    assert len({result.frame.size_hw for result in running.seen.results}) == 5
    indices = [result.frame.index for result in running.seen.results]
    assert indices == sorted(set(indices))
    assert_exact(running.pipeline.stats())


def test_a_stalled_camera_is_lost_and_comes_back() -> None:
    with MjpegCamera() as camera, run(camera) as running:
        running.until(lambda: running.stats().processed >= 3)
        camera.paused.set()
        running.until(lambda: running.stats().state == "lost")
        assert "answer" in running.stats().last_error
        camera.paused.clear()
        running.until(lambda: running.stats().reconnects == 1)
    assert None not in running.seen.numbers()
    assert_exact(running.pipeline.stats())


CUT_LEAVES = part(5)[:-400]
BROKEN = {
    "garbage between images": (b"\x00\xff\xd8garbage\xff" * 50, 0, 0),
    "cut off by the next image": (CUT_LEAVES, 1, 0),
    "no image though its frame is whole": (b"\xff\xd8\xff\xe0\x00\x04ab\xff\xd9", 1, 0),
    "connection cut in the middle of an image": (CUT_LEAVES, 0, 1),
    "connection closed between images": (b"", 0, 1),
}


@pytest.mark.parametrize(("data", "broken", "reconnects"), BROKEN.values(), ids=BROKEN)
def test_damage_makes_no_frame(data: bytes, broken: int, reconnects: int) -> None:
    with MjpegCamera() as camera:
        camera.script[5] = data
        camera.last = 20
        if reconnects:
            camera.cut.add(5)
        with run(camera) as running:
            running.until(lambda: 20 in running.seen.numbers())
            camera.stop()
    assert None not in running.seen.numbers()
    assert 5 not in running.seen.numbers()
    stats = running.stats()
    assert stats.captured == 20 + broken
    # One that looks whole may have been replaced by a newer one before its turn came.
    assert stats.dropped.get("broken", 0) <= broken
    assert stats.reconnects == reconnects
    assert_exact([stats])


def test_four_cameras_of_which_one_flaps_and_one_is_dead_from_the_start() -> None:
    steady, other, flapping, dead = (MjpegCamera() for _ in range(4))
    dead.start()
    dead.stop()  # its port refuses
    with steady, other, flapping, run(steady, other, flapping, dead) as running:
        for _ in range(3):
            target = running.stats(2).processed + 2
            running.until(lambda: running.stats(2).processed >= target)  # noqa: B023
            flapping.stop()
            running.until(lambda: running.stats(2).state == "lost")
            flapping.start()
        running.until(lambda: running.stats(2).reconnects == 3)
    steady_stats, other_stats, flapping_stats, dead_stats = running.pipeline.stats()
    assert_exact(running.pipeline.stats())
    for i in range(3):
        assert None not in running.seen.numbers(i)
    assert steady_stats.reconnects == other_stats.reconnects == 0
    assert flapping_stats.reconnects == 3
    assert (dead_stats.state, dead_stats.captured, dead_stats.reconnects) == ("lost", 0, 0)
    assert "refused" in dead_stats.last_error
    assert min(steady_stats.processed, other_stats.processed) > flapping_stats.processed / 2


def test_a_password_is_sent_and_never_shown() -> None:
    with MjpegCamera() as camera:
        camera.password = "secret"
        with run(camera) as running:
            running.until(lambda: running.stats().processed >= 2)
    assert camera.connections == 1
    everything = f"{running.pipeline.stats()} {running.seen.results[0]}"
    assert "secret" not in everything
    assert "hidden" not in everything


@pytest.mark.parametrize(
    ("password", "content_type", "why"),
    [
        ("another", "multipart/x-mixed-replace; boundary=frame", "HTTP status 401"),
        ("", "text/html", "type text/html"),
    ],
)
def test_a_refusal_is_named(password: str, content_type: str, why: str) -> None:
    with MjpegCamera() as camera:
        camera.password, camera.content_type = password, content_type
        with run(camera) as running:
            running.until(lambda: running.stats().state == "lost")
            assert why in running.stats().last_error
    assert running.stats().captured == 0


def test_a_source_lost_for_too_long_has_failed_and_the_run_ends() -> None:
    policy = dataclasses.replace(FAST, give_up_s=0.3)
    with MjpegCamera() as camera, run(camera, policy=policy) as running:
        running.until(lambda: running.stats().processed >= 2)
        camera.stop()
        running.wait()
    assert running.stats().state == "failed"
    assert running.error is None
    assert_exact([running.stats()])


def test_no_threads_are_left() -> None:
    before = threading.active_count()
    with MjpegCamera() as camera, run(camera) as running:
        running.until(lambda: running.stats().processed >= 2)
    wait_until(lambda: threading.active_count() <= before)
