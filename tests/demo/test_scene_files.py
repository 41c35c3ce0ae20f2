"""Scenes as files, read like any data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.demo.scene_files import LABELS, write_scenes
from ghost_deploy.demo.scenes import CLASS_NAMES, make_scene
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.processing.images import read_image


def test_labels_are_those_of_the_scenes(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    paths = write_scenes(tmp_path / "new", [3, 1], lambda *each: calls.append(each))
    assert [path.name for path in paths] == ["scene00003.jpg", "scene00001.jpg"]
    assert [done for _, done, _ in calls] == [0, 1]
    data = open_dataset(tmp_path / "new" / LABELS)
    assert data.class_names == CLASS_NAMES
    assert data.notes == ()
    by_name = {image.path.name: image for image in data.images}
    for path, seed in zip(paths, (3, 1), strict=True):
        scene = make_scene(seed)
        labels = by_name[path.name].labels
        np.testing.assert_allclose(labels.xyxy, scene.boxes, atol=1e-3)
        assert labels.class_id.tolist() == scene.class_ids.tolist()
        difference = np.abs(read_image(path).astype(int) - scene.image).mean()
        assert difference < 12  # JPEG smooths the noise


def test_no_scenes(tmp_path: Path) -> None:
    assert write_scenes(tmp_path, []) == []


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(OSError, match="images"):
        write_scenes(tmp_path, [1])
