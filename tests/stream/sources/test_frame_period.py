from __future__ import annotations

import pytest

from ghost_deploy.stream.sources.frame_period import FramePeriod


def beating(
    every_s: float, *, late_s: float = 0.0, count: int = 50, jitter_s: float = 0.0
) -> FramePeriod:
    """A source whose last frame was captured at 0 and arrived `late_s` after that."""
    rhythm = FramePeriod()
    for i in range(-count, 1):
        early_s = jitter_s * (-1) ** i
        rhythm.arrived(i * every_s, i * every_s + late_s - (early_s if i else 0.0))
    return rhythm


def test_nothing_is_expected_of_a_source_that_has_given_nothing() -> None:
    assert not FramePeriod().expects(1e6, 1.0)


def test_nothing_is_expected_after_one_frame() -> None:
    rhythm = FramePeriod()
    rhythm.arrived(0.0, 0.0)
    assert not rhythm.expects(-1.0, 1.0)


@pytest.mark.parametrize(
    ("now_s", "expected"),
    [(0.005, False), (0.04, False), (0.046, False), (0.049, True), (0.055, True), (0.2, True)],
)
def test_the_next_frame_is_expected_when_it_will_arrive(now_s: float, expected: bool) -> None:
    rhythm = beating(0.05, late_s=0.005)  # the next arrives at 0.055
    assert rhythm.expects(now_s, 1.0) is expected


def test_not_what_comes_later_than_the_patience_lasts() -> None:
    rhythm = beating(0.05)
    assert not rhythm.expects(0.047, 0.002)
    assert rhythm.expects(0.049, 0.002)
    assert not rhythm.expects(0.049, 0.0)


def test_nothing_is_expected_of_an_unsteady_source() -> None:
    assert beating(0.05, jitter_s=0.001).expects(0.049, 1.0)
    assert not beating(0.05, jitter_s=0.02).expects(0.049, 1.0)


def test_a_pause_does_not_spoil_the_rhythm() -> None:
    rhythm = beating(0.05)
    for i in range(2):
        rhythm.arrived(10 + i * 0.05, 10 + i * 0.05)
    assert not rhythm.expects(10.08, 1.0)
    assert rhythm.expects(10.095, 1.0)
