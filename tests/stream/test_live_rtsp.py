"""Live runs over a real RTSP server that streams H.264."""

from __future__ import annotations

import dataclasses
import itertools
import time
from typing import Literal

import pytest

from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.sources.rtsp import RtspReader
from ghost_deploy.stream.sources.uri import parse_source
from tests.support.camera_servers import Link, RtspCamera, needs_gstreamer, needs_rtsp_server
from tests.support.running_pipeline import FAST, Running, assert_exact, make_detector

POLICY = dataclasses.replace(FAST, open_timeout_s=10.0, read_timeout_s=5.0)


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    needs_rtsp_server()


By = Literal["ffmpeg", "gstreamer"]


@pytest.fixture(params=["ffmpeg", "gstreamer"])
def by(request: pytest.FixtureRequest) -> By:
    if request.param == "gstreamer":
        needs_gstreamer()
    chosen: By = request.param
    return chosen


def restart_and_check(restarts: int, by: By) -> None:
    """Kill and restart the camera, each time with another size; no frame may be invented."""
    policy = dataclasses.replace(POLICY, rtsp_by=by)
    with RtspCamera() as camera:
        pipeline = Pipeline(make_detector(), [parse_source(camera.address)], policy)
        with Running(pipeline) as running:
            for restart in range(restarts):
                target = running.stats().processed + 8
                running.until(lambda: running.stats().processed >= target)  # noqa: B023
                camera.kill()
                running.until(lambda: running.stats().state == "lost")
                camera.size_hw = (240 + 48 * (restart % 3), 320 + 64 * (restart % 3))
                camera.start()
            running.until(lambda: running.stats().reconnects == restarts)
            target = running.stats().processed + 20
            running.until(lambda: running.stats().processed >= target)
        numbers = [number for number in running.seen.numbers() if number is not None]
        assert len(numbers) == len(running.seen.results)
        assert numbers == sorted(set(numbers))
        assert running.stats().reconnects == restarts
        assert_exact(running.pipeline.stats())
        shown = f"{running.pipeline.stats()} {running.seen.results[0]}"
        assert "secret" not in shown


def test_a_camera_killed_and_restarted_with_another_size(by: By) -> None:
    restart_and_check(1, by)


@pytest.mark.slow
def test_a_camera_killed_and_restarted_five_times(by: By) -> None:
    restart_and_check(5, by)


def test_a_slow_model_stays_at_the_newest_frame() -> None:
    with RtspCamera() as camera:
        pipeline = Pipeline(
            make_detector(lambda: time.sleep(0.2)), [parse_source(camera.address)], POLICY
        )
        with Running(pipeline) as running:
            running.until(lambda: running.stats().processed >= 10)
    stats = running.stats()
    assert stats.dropped["newer"] > stats.processed
    assert_exact([stats])
    numbers = [number for number in running.seen.numbers() if number is not None]
    assert len(numbers) == len(running.seen.results)
    # It keeps pace with the camera: five results a second of twenty frames.
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    assert sorted(steps)[len(steps) // 2] >= 3


def test_packets_held_up_make_no_other_frames(by: By) -> None:
    policy = dataclasses.replace(POLICY, rtsp_by=by)
    with RtspCamera() as camera, Link(camera.port) as link:
        address = camera.address.replace(str(camera.port), str(link.port))
        pipeline = Pipeline(make_detector(), [parse_source(address)], policy)
        with Running(pipeline) as running:
            running.until(lambda: running.stats().processed >= 20)
            link.held.set()
            time.sleep(1.5)
            target = running.stats().captured + 40
            link.held.clear()
            running.until(lambda: running.stats().captured >= target)
    stats = running.stats()
    assert (stats.reconnects, stats.state) == (0, "live")
    assert_exact([stats])
    numbers = [number for number in running.seen.numbers() if number is not None]
    assert len(numbers) == len(running.seen.results)
    assert numbers == sorted(set(numbers))


def test_frames_that_were_held_up_are_known_to_be_old() -> None:
    with RtspCamera() as camera, Link(camera.port) as link:
        address = camera.address.replace(str(camera.port), str(link.port))
        reader = RtspReader(parse_source(address), POLICY)
        # On a busy machine it takes some frames until one comes in time.
        for _ in range(40):
            reader.grab()
        link.held.set()
        time.sleep(1.5)
        link.held.clear()
        captured = [(reader.grab() or 0, time.monotonic_ns()) for _ in range(30)]
        reader.close()
    # By their arrival all of them would be new.
    assert max(now - captured_ns for captured_ns, now in captured) > 500_000_000
