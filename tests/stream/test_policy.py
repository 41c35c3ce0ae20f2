from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.backoff import Backoff
from ghost_deploy.stream.frame_gates import MotionGate, RateLimit
from ghost_deploy.stream.policy import Roi

MS = 1_000_000


def test_delays_double_to_a_limit_with_jitter_and_start_again() -> None:
    backoff = Backoff(0.1, 1.0)
    for full in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert full / 2 <= backoff.delay() <= full
    backoff.reset()
    assert backoff.delay() <= 0.1
    assert len({Backoff(1, 2).delay() for _ in range(10)}) > 1


def admitted(rate: RateLimit, times_ms: list[int]) -> list[int]:
    return [t for t in times_ms if rate.admits(t * MS)]


def test_no_limit_admits_all() -> None:
    assert admitted(RateLimit(), [0, 0, 1, 40]) == [0, 0, 1, 40]


def test_every_nth_begins_with_the_first() -> None:
    assert admitted(RateLimit(every=3), list(range(8))) == [0, 3, 6]


def test_the_mean_rate_is_the_one_asked_for() -> None:
    frames = [round(i * 1000 / 30) for i in range(300)]  # ten seconds of 30 frames
    for fps in (1, 7, 10, 24):
        assert len(admitted(RateLimit(fps=fps), frames)) == pytest.approx(10 * fps, abs=1)


def test_jitter_of_the_camera_does_not_halve_the_rate() -> None:
    times = [round(i * 100 + (-1) ** i * 4) for i in range(100)]
    assert len(admitted(RateLimit(fps=10), times)) == 100


def test_after_a_pause_nothing_is_caught_up() -> None:
    times = [0, 100, 5000, 5010, 5020, 5100, 5200]
    assert admitted(RateLimit(fps=10), times) == [0, 100, 5000, 5100, 5200]


def scene(seed: int = 0, noise: float = 0.0, brightness: int = 0) -> np.ndarray:
    base = np.tile(np.linspace(40, 180, 640), (360, 1))[..., None].repeat(3, 2) + brightness
    rng = np.random.default_rng(seed)
    return np.clip(base + rng.normal(0, noise, base.shape), 0, 255).astype(np.uint8)


def test_noise_and_exposure_are_no_motion_and_an_object_is() -> None:
    gate = MotionGate()
    assert not gate.is_still(scene())
    assert gate.is_still(scene(1, noise=8))
    assert gate.is_still(scene(2, noise=8, brightness=30))
    moved = scene(3, noise=8)
    moved[100:130, 200:230] = 255
    assert not gate.is_still(moved)
    assert gate.is_still(moved)
    assert not gate.is_still(scene(4))


def test_a_change_of_size_is_no_error() -> None:
    gate = MotionGate()
    assert not gate.is_still(scene())
    assert gate.is_still(scene()[::2, ::2])


def test_slow_motion_adds_up() -> None:
    gate = MotionGate()
    steps = []
    for level in range(0, 40, 4):
        image = scene()
        image[100:150, 200:250] = 60 + level
        steps.append(gate.is_still(image))
    assert steps.count(False) > 1


@pytest.mark.parametrize(
    ("text", "size_hw", "pixels"),
    [
        ("0,0,1,1", (100, 200), (0, 0, 200, 100)),
        ("0.25, .5, 0.75, 1", (100, 200), (50, 50, 150, 100)),
        ("10,20,50,60", (100, 200), (10, 20, 50, 60)),
        ("10,20,500,600", (100, 200), (10, 20, 200, 100)),
    ],
)
def test_a_region_in_pixels(
    text: str, size_hw: tuple[int, int], pixels: tuple[int, int, int, int]
) -> None:
    assert Roi.parse(text).pixels(size_hw) == pixels


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "a,b,c,d", "-1,0,1,1", "5,5,5,9", "9,0,1,5", "0,0,nan,1"]
)
def test_no_region(text: str) -> None:
    with pytest.raises(UsageError, match="no region"):
        Roi.parse(text)


def test_a_region_outside_the_image() -> None:
    with pytest.raises(UsageError, match="outside the image"):
        Roi.parse("300,0,400,50").pixels((100, 200))
