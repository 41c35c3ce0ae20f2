from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.stream.draw import draw
from ghost_deploy.stream.motion import BoxFilter
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.record import result_record
from ghost_deploy.stream.sinks.tracking import TrackingSink
from ghost_deploy.stream.track import Tracker
from tests.support.stream_results import make_result

Row = tuple[float, float, float, int]  # centre x, centre y, score, class
SIDE = 40.0
RATE = 20.0


def seen(*rows: Row) -> Detections:
    """Squares of 40 pixels."""
    half = SIDE / 2
    boxes = [[x - half, y - half, x + half, y + half] for x, y, _, _ in rows]
    return Detections(boxes, [row[2] for row in rows], [row[3] for row in rows])


def ids_by_x(tracker: Tracker, found: Detections, frame: int) -> list[int]:
    """The ids of one frame, from left to right."""
    ids = tracker.update(found, frame / RATE)
    return ids[np.argsort(found.xyxy[:, 0], kind="stable")].tolist()


def test_nothing_is_ever_seen() -> None:
    tracker = Tracker()
    for frame in range(3):
        ids = tracker.update(Detections.empty(), frame / RATE)
        assert ids.shape == (0,)
        assert ids.dtype == np.int32


def test_an_id_comes_with_the_second_sight() -> None:
    tracker = Tracker()
    assert [ids_by_x(tracker, seen((50, 50, 0.9, 0)), i) for i in range(3)] == [[0], [1], [1]]


@pytest.mark.parametrize("score", [0.3, 0.55])
def test_clutter_begins_no_track(score: float) -> None:
    tracker = Tracker()
    assert {tuple(ids_by_x(tracker, seen((50, 50, score, 0)), i)) for i in range(5)} == {(0,)}


def test_what_is_seen_once_is_forgotten() -> None:
    tracker = Tracker()
    frames = [seen((50, 50, 0.9, 0)), seen(), seen((50, 50, 0.9, 0)), seen((50, 50, 0.9, 0))]
    assert [ids_by_x(tracker, found, i) for i, found in enumerate(frames)] == [[0], [], [0], [1]]


def test_classes_are_never_mixed() -> None:
    tracker = Tracker()
    for frame in range(3):
        ids = ids_by_x(tracker, seen((50, 50, 0.9, 0)), frame)
    assert ids == [1]
    assert ids_by_x(tracker, seen((50, 50, 0.9, 1)), 3) == [0]
    assert ids_by_x(tracker, seen((50, 50, 0.9, 1)), 4) == [2]


def follow(
    where: Callable[[int], list[Row]], frames: int, noise: float = 0.0
) -> list[dict[int, tuple[float, float]]]:
    """Centre by id of every frame, with noise of that many pixels on the corners."""
    tracker, random, history = Tracker(), np.random.default_rng(0), []
    for frame in range(frames):
        found = seen(*where(frame))
        jitter = random.normal(0, noise, found.xyxy.shape).astype(np.float32)
        found = Detections(found.xyxy + jitter, found.score, found.class_id)
        ids = tracker.update(found, frame / RATE)
        centres = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2
        history.append(
            {int(i): (float(x), float(y)) for i, (x, y) in zip(ids, centres, strict=True)}
        )
    return history


def test_two_that_cross_keep_their_ids() -> None:
    """Their boxes overlap in the middle; only where they go tells them apart."""

    def where(frame: int) -> list[Row]:
        return [(50 + 6 * frame, 100, 0.9, 0), (410 - 6 * frame, 102, 0.8, 0)]

    history = follow(where, 61, noise=1.0)
    assert {tuple(sorted(ids)) for ids in history[1:]} == {(1, 2)}
    right = 1 if history[1][1][0] < 200 else 2  # the one that sets out from the left
    assert history[-1][right][0] == pytest.approx(410, abs=8)
    assert history[-1][3 - right][0] == pytest.approx(50, abs=8)


def test_hidden_for_a_while_it_is_known_again_where_it_comes_out() -> None:
    def where(frame: int) -> list[Row]:
        return [] if 20 <= frame < 34 else [(50 + 6 * frame, 100, 0.9, 0)]

    history = follow(where, 60, noise=0.5)
    assert {id_ for ids in history[1:] for id_ in ids} == {1}


def test_half_hidden_it_keeps_its_id_with_a_low_score() -> None:
    def where(frame: int) -> list[Row]:
        return [(50 + 2 * frame, 100, 0.2 if 10 <= frame < 40 else 0.9, 0)]

    assert {id_ for ids in follow(where, 60)[1:] for id_ in ids} == {1}


def test_after_a_second_it_is_another() -> None:
    def where(frame: int) -> list[Row]:
        return [] if 20 <= frame < 42 else [(50, 100, 0.9, 0)]

    history = follow(where, 60)
    assert history[19].keys() == {1}
    assert history[-1].keys() == {2}


def test_frames_may_be_dropped() -> None:
    """The speed is per second, so a gap of frames moves the expectation on."""
    tracker, ids = Tracker(), set()
    steps = itertools.cycle((1, 1, 2, 6, 1, 4))
    frame = 0
    for step in itertools.islice(steps, 60):
        frame += step
        ids |= set(ids_by_x(tracker, seen((20 + 6.0 * frame, 100, 0.9, 0)), frame))
    assert ids == {0, 1}


def test_many_at_once() -> None:
    grid = [(x, y) for x in range(0, 1000, 100) for y in range(0, 1000, 100)]

    def where(frame: int) -> list[Row]:
        return [(x + 1.5 * frame, y - frame, 0.9, 0) for x, y in grid]

    history = follow(where, 30, noise=1.0)
    assert set(history[-1]) == set(history[1]) == set(range(1, 101))
    for id_, (x, y) in history[1].items():
        assert history[-1][id_] == pytest.approx((x + 42, y - 28), abs=8)


def test_a_clock_that_stands_still_or_goes_back() -> None:
    tracker = Tracker()
    for now_s in (5.0, 5.0, 4.0, 4.0, 5.1):
        ids = tracker.update(seen((50, 50, 0.9, 0)), now_s)
    assert ids.tolist() == [1]


def test_the_filter_learns_a_constant_speed() -> None:
    motion = BoxFilter(np.array([0, 0, 40, 40], np.float32))
    for step in range(1, 20):
        motion.predict(0.05)
        motion.correct(np.array([5 * step, 0, 40 + 5 * step, 40], np.float32))
    motion.predict(0.5)
    assert motion.xyxy == pytest.approx([145, 0, 185, 40], abs=3)


def test_the_filter_takes_a_box_without_area() -> None:
    motion = BoxFilter(np.zeros(4, np.float32))
    for _ in range(3):
        motion.predict(0.1)
        motion.correct(np.zeros(4, np.float32))
    assert np.isfinite(motion.xyxy).all()


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self, fails: bool = False) -> None:
        self.results: list[Result] = []
        self.closed = 0
        self._fails = fails

    def write(self, result: Result) -> None:
        self.results.append(result)

    def close(self) -> None:
        self.closed += 1
        if self._fails:
            raise OSError("disk")


def test_sources_are_tracked_apart_and_sinks_closed_together() -> None:
    sinks = [Kept(fails=True), Kept()]
    tracking = TrackingSink(sinks)
    for index in range(3):
        for source in ("cam1", "cam2"):
            # The second is a video: its frames are a tenth of a second apart.
            position_s = index / 10 if source == "cam2" else None
            found = seen((30, 30, 0.9, 0))
            tracking.write(make_result(source, index=index, found=found, position_s=position_s))
    with pytest.raises(OSError, match="disk"):
        tracking.close()
    assert [sink.closed for sink in sinks] == [1, 1]
    given = [r.detections.track_id.tolist() for r in sinks[1].results]
    assert given == [[0], [0], [1], [1], [1], [1]]
    assert sinks[0].results == sinks[1].results


def test_ids_in_records_and_images() -> None:
    plain = make_result(size_hw=(200, 300))
    assert "track_id" not in result_record(plain)["detections"][0]
    found = replace(plain.detections, track_id=np.array([7, 0], np.int32))
    tracked = replace(plain, detections=found)
    rows = json.loads(json.dumps(result_record(tracked)))["detections"]
    assert [row["track_id"] for row in rows] == [7, None]
    image = plain.frame.image
    without = draw(image, plain.detections)
    assert np.array_equal(draw(image, replace(found, track_id=np.zeros(2, np.int32))), without)
    assert not np.array_equal(draw(image, found), without)
