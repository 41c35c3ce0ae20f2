"""Boxes stay on their objects in all augmentations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tools.training.augment import Augmentation, Sample, augment, clip, mosaic, place, recolor

SIDE = 96
WHITE = 255


def sample(height: int, width: int, *boxes: tuple[int, int, int, int]) -> Sample:
    """Black, with white rectangles where the objects are."""
    image = np.zeros((height, width, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = WHITE
    return Sample(
        image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(len(boxes), dtype=np.int32)
    )


def seen_box(image: np.ndarray) -> list[float]:  # type: ignore[type-arg]
    """x1 y1 x2 y2 around what is white."""
    rows, columns = np.nonzero(image.min(2) > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_mosaic_keeps_boxes_on_their_objects(seed: int) -> None:
    for index in range(4):
        pieces = [sample(64, 96) for _ in range(4)]
        pieces[index] = sample(64, 96, (20, 10, 70, 50))
        made = mosaic(pieces, SIDE, rng(seed))
        assert made.image.shape == (2 * SIDE, 2 * SIDE, 3)
        if len(made.boxes):
            assert made.boxes.tolist() == [seen_box(made.image)]


def test_the_pieces_of_a_mosaic_meet_in_one_point_and_do_not_overlap() -> None:
    pieces = [sample(96, 96, (0, 0, 96, 96)) for _ in range(4)]
    made = mosaic(pieces, SIDE, rng(0))
    (x1, y1), (x2, y2) = made.boxes[0, 2:], made.boxes[3, :2]
    assert (x1, y1) == (x2, y2)
    assert SIDE / 2 <= x1 <= 1.5 * SIDE
    areas = (made.boxes[:, 2:] - made.boxes[:, :2]).prod(1)
    assert areas.sum() == (made.image == WHITE).all(2).sum()


QUARTER = np.array([[0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    "linear",
    [
        np.eye(2),
        np.diag([-1.0, 1.0]),
        np.diag([1.0, -1.0]),
        QUARTER,
        -QUARTER,
        2 * np.eye(2),
        0.5 * np.diag([-1.0, 1.0]) @ QUARTER,
    ],
    ids=["same", "mirror", "upside-down", "turn", "turn-back", "larger", "all"],
)
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.1, -0.05)])
def test_placing_moves_boxes_as_it_moves_pixels(
    linear: np.ndarray,  # type: ignore[type-arg]
    shift: tuple[float, float],
) -> None:
    moved = place(sample(64, 96, (40, 24, 56, 36)), linear, np.array(shift), SIDE)
    assert moved.image.shape == (SIDE, SIDE, 3)
    assert moved.boxes.shape == (1, 4)
    np.testing.assert_allclose(moved.boxes[0], seen_box(moved.image), atol=1.01)


def test_placing_without_a_change_is_exact() -> None:
    original = sample(96, 96, (40, 24, 56, 36))
    same = place(original, np.eye(2), np.zeros(2), SIDE)
    assert np.array_equal(same.image, original.image)
    assert np.array_equal(same.boxes, original.boxes)


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((-10, -10, 20, 20), [[0, 0, 20, 20]]),
        ((90, 10, 130, 20), [[90, 10, 96, 20]]),
        ((93, 10, 193, 20), []),  # three pixels of a hundred are seen
        ((50, 50, 51, 90), []),  # thinner than two pixels
        ((200, 200, 220, 220), []),
        ((10, 10, 10, 10), []),
    ],
)
def test_clipping(box: tuple[float, ...], kept: list[list[float]]) -> None:
    cut = clip(Sample(np.zeros((96, 96, 3), np.uint8), np.array([box], np.float32), np.array([3])))
    assert cut.boxes.tolist() == kept
    assert cut.class_ids.tolist() == [3] * len(kept)


def test_clipping_nothing() -> None:
    assert clip(sample(8, 8)).boxes.shape == (0, 4)


def test_no_change_of_color_is_nearly_none_and_hue_goes_round() -> None:
    image = rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    same = recolor(image, np.zeros(3)).astype(int)
    assert np.abs(same - image).max() <= 6  # there and back through 180 hues
    dark = recolor(image, np.array([0.01, 0.0, -0.4]))
    assert dark.max() <= np.ceil(0.6 * WHITE)


@pytest.mark.parametrize("pieces", [1, 4])
def test_augmentation_is_the_same_for_the_same_seed_and_stays_inside(pieces: int) -> None:
    parts = [sample(64, 96, (20, 10, 70, 50), (5, 5, 15, 15)) for _ in range(pieces)]
    how = Augmentation(any_way_up=True)
    make: Callable[[int], Sample] = lambda seed: augment(parts, SIDE, 64, how, rng(seed))  # noqa: E731
    first, again, other = make(1), make(1), make(2)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.image, other.image)
    for made in (first, other):
        assert made.image.shape == (64, 64, 3)
        assert made.boxes.dtype == np.float32
        assert ((made.boxes >= 0) & (made.boxes <= 64)).all()
        assert len(made.boxes) == len(made.class_ids)
