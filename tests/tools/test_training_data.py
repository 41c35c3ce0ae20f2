"""Training data: wrong inputs, scenes and data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.demo import scene_files as dataset
from ghost_deploy.demo.embedded import TRAIN_FROM
from ghost_deploy.demo.scenes import Scene, make_scene
from tests.support.training_data import SIDE, scene_samples, write_yolo
from tools.training import scenes
from tools.training.augment import Augmentation, Sample
from tools.training.batches import collate, epoch_batches
from tools.training.samples import read_data, shrink


def test_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no data set description"):
        read_data(tmp_path / "data.yaml", SIDE)


def test_a_data_set_without_its_images(tmp_path: Path) -> None:
    file = write_yolo(tmp_path)
    (tmp_path / "images" / "train").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="images that do not exist"):
        read_data(file, SIDE)


def test_a_data_set_without_objects(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to learn from"):
        read_data(write_yolo(tmp_path, labels=""), SIDE)


def test_labels_of_a_class_that_is_not_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="class 1"):
        read_data(write_yolo(tmp_path, labels="1 .5 .5 .5 .5"), SIDE)


def test_classes_without_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no classes"):
        read_data(write_yolo(tmp_path, names="nc: 1"), SIDE)


@pytest.mark.parametrize(("count", "held_out"), [(0, 1), (1, 0), (1, 10_001)])
def test_impossible_numbers_of_scenes(count: int, held_out: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="out of range"):
        scenes.read_scenes(count, held_out, SIDE, tmp_path)


def test_a_data_set_is_read_at_the_size_of_the_input(tmp_path: Path) -> None:
    found = read_data(write_yolo(tmp_path), SIDE)
    assert found.class_names == ("spot",)
    assert [sample.image.shape for sample in found.samples] == [(48, 64, 3)] * 2
    assert found.samples[0].boxes.tolist() == [[16, 12, 48, 36]]
    assert len(found.held_out.images) == 2
    assert str(tmp_path.parent) not in found.description


def test_scenes_are_drawn_once_and_held_out_ones_never_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def drawn(seed: int) -> Scene:
        seeds.append(seed)
        return make_scene(seed, (48, 64))

    monkeypatch.setattr(scenes, "make_scene", drawn)
    monkeypatch.setattr(dataset, "make_scene", drawn)
    monkeypatch.setattr(scenes, "_SHARD", 3)
    first = scenes.read_scenes(4, 2, 32, tmp_path)
    assert seeds == [0, 1, *range(TRAIN_FROM, TRAIN_FROM + 6)]
    again = scenes.read_scenes(4, 2, 32, tmp_path)
    assert len(seeds) == 8
    for one, two in zip(first.samples, again.samples, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert first.held_out.facts() == again.held_out.facts()
    whole, scaled = make_scene(TRAIN_FROM, (48, 64)), first.samples[0]
    np.testing.assert_allclose(scaled.boxes * 2, whole.boxes)
    labels = first.held_out.images[1].labels
    np.testing.assert_allclose(labels.xyxy, make_scene(1, (48, 64)).boxes)
    assert labels.class_id.tolist() == make_scene(1, (48, 64)).class_ids.tolist()


def test_shrinking_is_that_of_the_letterbox() -> None:
    sample = Sample(
        np.zeros((333, 500, 3), np.uint8),
        np.array([[0, 0, 500, 333]], np.float32),
        np.zeros(1, np.int32),
    )
    small = shrink(sample, 64)
    assert small.image.shape == (43, 64, 3)
    np.testing.assert_allclose(small.boxes, [[0, 0, 64, 43]], rtol=1e-6)


def test_batches_are_the_same_for_the_same_epoch_and_others_for_another() -> None:
    samples = scene_samples(5)

    def batches(seed: int, epoch: int) -> list[torch.Tensor]:
        made = epoch_batches(
            samples, SIDE, 32, 2, seed=seed, epoch=epoch, how=Augmentation(), mosaic=True
        )
        return [images for images, _ in made]

    first, again = batches(0, 3), batches(0, 3)
    assert [tuple(images.shape) for images in first] == [(2, 3, 32, 32)] * 2
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], batches(0, 4)[0])
    assert not torch.equal(first[0], batches(1, 3)[0])


def test_a_batch_is_rgb_from_0_to_1_with_the_owner_of_every_box() -> None:
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 0] = 255
    none, box = np.zeros((0, 4), np.float32), np.array([[1, 2, 3, 4]], np.float32)
    images, truth = collate(
        [
            Sample(blue, none, np.zeros(0, np.int32)),
            Sample(blue, box, np.array([5], np.int32)),
        ]
    )
    assert images.dtype == torch.float32
    assert images[0, :, 0, 0].tolist() == [0, 0, 1]
    assert truth.image.tolist() == [1]
    assert truth.boxes.tolist() == box.tolist()
    assert truth.class_id.tolist() == [5]
