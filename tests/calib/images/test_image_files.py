"""Image files of a calibration set."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.calib.images import collection
from ghost_deploy.calib.images.collection import collect_images
from ghost_deploy.core.errors import ExportError
from tests.support.images import write_image


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "street.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for index in range(4):
        writer.write(np.full((48, 64, 3), 60 * index, np.uint8))
    writer.release()
    return path


def test_a_full_disk_is_named(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection.cv2, "imwrite", lambda *given: False)
    with pytest.raises(ExportError, match="cannot write"):
        collect_images(video, allow_small=True).files(tmp_path)


def test_frames_of_a_video_become_files_without_loss(video: Path, tmp_path: Path) -> None:
    calibration = collect_images(video, allow_small=True)
    files = calibration.files(tmp_path)
    assert len(set(files)) == len(calibration) > 1
    for path, image in zip(files, calibration.images(), strict=True):
        assert np.array_equal(cv2.imread(str(path)), image)


def test_image_files_are_used_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path)
    assert collect_images(path, allow_small=True).files(tmp_path) == [path]
