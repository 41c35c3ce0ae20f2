"""Live runs over a real RTSP server that streams H.264."""

from __future__ import annotations

import dataclasses
import itertools
import time

import pytest

from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.uri import parse_source
from tests.stream.rig import FAST, Running, assert_exact, make_detector
from tests.stream.servers import Link, RtspCamera, needs_rtsp_server, wait_until

POLICY = dataclasses.replace(FAST, open_timeout_s=10.0, read_timeout_s=5.0)


@pytest.fixture(scope="module", autouse=True)
def server() -> None:
    needs_rtsp_server()


def restart_and_check(restarts: int) -> None:
    """Kill and restart the camera, each time with another size; no frame may be invented."""
    with RtspCamera() as camera:
        pipeline = Pipeline(make_detector(), [parse_source(camera.address)], POLICY)
        with Running(pipeline) as running:
            for restart in range(restarts):
                target = running.stats().processed + 8
                assert wait_until(lambda: running.stats().processed >= target)  # noqa: B023
                camera.kill()
                assert wait_until(lambda: running.stats().state == "lost")
                camera.size_hw = (240 + 48 * (restart % 3), 320 + 64 * (restart % 3))
                camera.start()
            assert wait_until(lambda: running.stats().reconnects == restarts)
            target = running.stats().processed + 20
            assert wait_until(lambda: running.stats().processed >= target)
        numbers = [number for number in running.seen.numbers() if number is not None]
        assert len(numbers) == len(running.seen.results)
        assert numbers == sorted(set(numbers))
        assert running.stats().reconnects == restarts
        assert_exact(running.pipeline.stats.snapshot())
        shown = f"{running.pipeline.stats.snapshot()} {running.seen.results[0]}"
        assert "secret" not in shown


def test_a_camera_killed_and_restarted_with_another_size() -> None:
    restart_and_check(1)


@pytest.mark.slow
def test_a_camera_killed_and_restarted_five_times() -> None:
    restart_and_check(5)


def test_a_slow_model_stays_at_the_newest_frame() -> None:
    with RtspCamera() as camera:
        pipeline = Pipeline(
            make_detector(lambda: time.sleep(0.2)), [parse_source(camera.address)], POLICY
        )
        with Running(pipeline) as running:
            assert wait_until(lambda: running.stats().processed >= 10)
    stats = running.stats()
    assert stats.dropped["newer"] > stats.processed
    assert_exact([stats])
    numbers = [number for number in running.seen.numbers() if number is not None]
    assert len(numbers) == len(running.seen.results)
    # It keeps pace with the camera: five results a second of twenty frames.
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    assert sorted(steps)[len(steps) // 2] >= 3


def test_packets_held_up_make_old_frames_and_no_others() -> None:
    with RtspCamera() as camera, Link(camera.port) as link:
        address = camera.address.replace(str(camera.port), str(link.port))
        pipeline = Pipeline(make_detector(), [parse_source(address)], POLICY)
        with Running(pipeline) as running:
            assert wait_until(lambda: running.stats().processed >= 20)
            link.held.set()
            time.sleep(1.5)
            target = running.stats().captured + 40
            link.held.clear()
            assert wait_until(lambda: running.stats().captured >= target)
    stats = running.stats()
    assert (stats.reconnects, stats.state) == (0, "live")
    assert_exact([stats])
    numbers = [number for number in running.seen.numbers() if number is not None]
    assert len(numbers) == len(running.seen.results)
    assert numbers == sorted(set(numbers))
    # By their arrival the frames that were held up would all be new.
    assert max(result.age_ms for result in running.seen.results) > 500
