"""Which images are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.calib.images.sampling import farthest, features, ranked
from ghost_deploy.calib.images.sources import ImageLocation


def rows(*points: float) -> list[NDArray[np.float32]]:
    """Features that differ in the first colour only."""
    return [np.array([p, *np.zeros(1023)], np.float32) for p in points]


def test_rank_follows_name_and_seed() -> None:
    places = [ImageLocation(Path(f"x/{i}.png")) for i in range(20)]
    order = [place.name for place in ranked(places, 0)]
    moved = [ImageLocation(Path("elsewhere") / place.path.name) for place in reversed(places)]
    assert [place.name for place in ranked(moved, 0)] == order
    assert [place.name for place in ranked(places, 1)] != order
    assert sorted(order) == sorted(place.name for place in places)
    without = [place for place in places if place.name != order[3]]
    assert [place.name for place in ranked(without, 0)] == [n for n in order if n != order[3]]


def test_frames_of_a_video_have_ranks_of_their_own() -> None:
    frames = [ImageLocation(Path("a.mp4"), i) for i in range(20)]
    assert ranked(frames, 0) != frames


@pytest.mark.parametrize(
    ("points", "count", "chosen"),
    [
        ((1, 2, 3), 5, [0, 1, 2]),
        ((0, 5, 10), 1, [1]),
        ((0, 4, 5, 6, 10), 3, [2, 0, 4]),
        ((5, 5, 5, 5), 2, [0, 1]),
        ((0, 0, 0, 9), 2, [0, 3]),
    ],
)
def test_the_farthest_is_chosen_next(
    points: tuple[float, ...], count: int, chosen: list[int]
) -> None:
    assert farthest(rows(*points), count) == chosen


def test_it_covers_within_twice_the_best_radius() -> None:
    """Gonzalez's bound, against every choice of three."""
    rng = np.random.default_rng(0)
    points = np.zeros((12, 1024), np.float32)
    points[:, :2] = rng.random((12, 2))
    points[:, 800:802] = rng.random((12, 2))
    table = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    table[:, :768] /= np.sqrt((table[:, :768] ** 2).sum(axis=1).mean())
    table[:, 768:] /= np.sqrt((table[:, 768:] ** 2).sum(axis=1).mean())
    distance = np.linalg.norm(table[:, None] - table[None], axis=2)

    def radius(centres: list[int]) -> float:
        return float(distance[centres].min(axis=0).max())

    best = min(radius([a, b, c]) for a in range(12) for b in range(a) for c in range(b))
    assert radius(farthest(list(points), 3)) <= 2 * best


def test_features_see_colour_and_edges() -> None:
    plain = np.full((50, 70, 3), 128, np.uint8)
    red = plain.copy()
    red[..., 2] = 255
    striped = plain.copy()
    striped[::4] = 0
    assert features(plain).shape == (1024,)
    assert features(plain)[768:].max() == 0
    assert np.abs(features(red) - features(plain))[:768].max() > 0.4
    assert features(striped)[768:].max() > 0.05
    for image in (plain, red, striped):
        assert features(image).min() >= 0
        assert features(image).max() <= 1
