from __future__ import annotations

from ghost_deploy.stream.sources.capture_clock import CaptureClock

MS = 1_000_000
START = 7_000_000 * MS


def ages(frames: list[tuple[int, int]]) -> list[int]:
    """Age at arrival of frames (arrival, stamp) in milliseconds."""
    clock = CaptureClock()
    return [
        (START + arrival * MS - clock.captured_ns(START + arrival * MS, stamp * MS)) // MS
        for arrival, stamp in frames
    ]


def test_frames_in_time_have_no_age() -> None:
    assert set(ages([(i * 40, 1 + i * 40) for i in range(1000)])) == {0}


def test_jitter_is_age() -> None:
    assert ages([(0, 1), (45, 41), (80, 81), (130, 121)]) == [0, 5, 0, 10]


def test_frames_that_were_held_up_are_old_although_they_just_came() -> None:
    before = [(i * 40, 1 + i * 40) for i in range(25)]
    held = [(3000, 1 + i * 40) for i in range(25, 75)]
    assert ages(before + held)[25:] == [3000 - i * 40 for i in range(25, 75)]


def test_a_drifting_clock_is_followed() -> None:
    # One part in a thousand slow for an hour: 3.6 s if it added up.
    assert max(ages([(i * 1000, 1 + i * 999) for i in range(3600)])) <= 10


def test_stamps_that_jump_back_are_forgotten() -> None:
    frames = [(i * 40, 5001 + i * 40) for i in range(100)]
    frames += [(i * 40, 3001 + i * 40) for i in range(100, 500)]
    found = ages(frames)
    assert found[100] == 0  # it does not advance: the arrival counts, and all begins anew
    assert set(found[100:]) == {0}


def test_stamps_that_are_no_use() -> None:
    assert ages([(i * 40, 0) for i in range(10)]) == [0] * 10
    assert ages([(i * 40, 10 - i) for i in range(10)]) == [0] * 10


def test_a_long_pause_starts_anew() -> None:
    assert ages([(0, 1), (40, 41), (60_000, 81), (60_040, 121)]) == [0, 0, 0, 0]
