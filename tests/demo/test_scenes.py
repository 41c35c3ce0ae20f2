"""Scenes: reproducible, varied, and labelled exactly."""

from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.demo.parts import CLASS_NAMES as PART_NAMES
from ghost_deploy.demo.parts import clutter_steps, part_steps
from ghost_deploy.demo.scenes import CLASS_NAMES, Scene, make_scene

SIZE_HW = (240, 320)
SEEDS = range(12)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(seed, SIZE_HW) for seed in SEEDS]


def test_class_names_are_unique_and_shared() -> None:
    assert CLASS_NAMES == PART_NAMES
    assert len(set(CLASS_NAMES)) == len(CLASS_NAMES) == 6


def test_the_same_seed_gives_the_same_scene(scenes: list[Scene]) -> None:
    again = make_scene(3, SIZE_HW)
    assert np.array_equal(again.image, scenes[3].image)
    assert np.array_equal(again.boxes, scenes[3].boxes)
    assert np.array_equal(again.class_ids, scenes[3].class_ids)


def test_other_seeds_give_other_scenes(scenes: list[Scene]) -> None:
    assert len({scene.image.tobytes() for scene in scenes}) == len(scenes)


@pytest.mark.parametrize("size_hw", [(480, 640), (96, 128), (128, 96)])
def test_size_and_types(size_hw: tuple[int, int]) -> None:
    scene = make_scene(0, size_hw)
    assert scene.image.shape == (*size_hw, 3)
    assert scene.image.dtype == np.uint8
    assert scene.boxes.dtype == np.float32
    assert scene.class_ids.dtype == np.int32
    assert scene.boxes.shape == (len(scene.class_ids), 4)


def test_boxes_lie_in_the_image_and_have_area(scenes: list[Scene]) -> None:
    boxes = np.concatenate([scene.boxes for scene in scenes])
    assert len(boxes) > len(scenes)
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= SIZE_HW[1]
    assert boxes[:, 3].max() <= SIZE_HW[0]
    assert np.all(boxes[:, 2:] - boxes[:, :2] >= 2)


def test_every_class_appears(scenes: list[Scene]) -> None:
    found = np.concatenate([scene.class_ids for scene in scenes])
    assert set(found.tolist()) == set(range(len(CLASS_NAMES)))


def test_a_box_is_where_something_is_drawn(scenes: list[Scene]) -> None:
    """Inside the boxes there is more structure than outside: labels are not shifted."""
    inside, outside = [], []
    for scene in scenes:
        grey = scene.image.astype(np.float32).mean(axis=2)
        edges = np.abs(np.diff(grey, axis=1))
        mask = np.zeros(edges.shape, bool)
        for x1, y1, x2, y2 in scene.boxes.astype(int):
            mask[y1:y2, x1:x2] = True
        if mask.any() and not mask.all():
            inside.append(edges[mask].mean())
            outside.append(edges[~mask].mean())
    assert np.mean(inside) > np.mean(outside)


@pytest.mark.parametrize("class_id", range(len(PART_NAMES)), ids=PART_NAMES)
def test_parts_vary_and_fill_their_frame(class_id: int) -> None:
    rng = np.random.default_rng(0)
    shapes = [part_steps(class_id, rng) for _ in range(4)]
    assert all(steps[0].fill for steps in shapes)
    extent = max(np.abs(s.points).max() for steps in shapes for s in steps if s.fill)
    assert 0.7 <= extent <= 1.05
    assert any(not np.array_equal(shapes[0][-1].points, other[-1].points) for other in shapes[1:])


def test_clutter_is_of_several_kinds() -> None:
    rng = np.random.default_rng(0)
    assert len({clutter_steps(rng)[0].points.shape for _ in range(30)}) >= 4
