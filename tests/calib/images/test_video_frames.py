"""Frames of a video as calibration images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.calib.images import video_frames as video_module
from ghost_deploy.calib.images.collection import collect_images
from ghost_deploy.calib.images.sources import find_images
from ghost_deploy.calib.images.video_frames import Video, spread
from ghost_deploy.core.errors import ImageError
from tests.support.images import write_image


def record(path: Path, frames: int, *, still: bool = False) -> Path:
    """A video whose frame i is filled with the grey level i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 40 if still else index, np.uint8))
    writer.release()
    return path


@pytest.mark.parametrize(
    ("available", "wanted", "numbers"),
    [(0, 5, []), (5, 0, []), (3, 5, [0, 1, 2]), (10, 1, [5]), (10, 5, [1, 3, 5, 7, 9])],
)
def test_numbers_are_spread_evenly(available: int, wanted: int, numbers: list[int]) -> None:
    assert spread(available, wanted) == numbers


@pytest.mark.parametrize("content", [None, b"", b"no video at all"])
def test_what_is_no_video(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.avi"):
        Video(path)


@pytest.mark.parametrize("seek_from", [0, 100])
def test_a_frame_is_the_one_asked_for(
    seek_from: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_module, "_SEEK_FROM", seek_from)
    video = Video(record(tmp_path / "a.avi", 50))
    assert video.count() == 50
    for index in (0, 1, 7, 30, 49, 3):
        assert abs(float(video.frame(index).mean()) - index) < 2
    with pytest.raises(ImageError, match="frame 50"):
        video.frame(50)
    video.close()


def test_frames_are_counted_where_the_file_does_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = Video(record(tmp_path / "a.avi", 20))
    monkeypatch.setattr(cv2, "CAP_PROP_FRAME_COUNT", -12345)
    assert video.count() == 20
    assert abs(float(video.frame(2).mean()) - 2) < 2
    video.close()


def test_frames_come_at_even_spacing(tmp_path: Path) -> None:
    path = record(tmp_path / "a.avi", 60)
    found = collect_images(path, count=6, allow_small=True)
    assert [source.frame for source in found.sources] == [5, 15, 25, 35, 45, 55]
    assert found.sources[0].name == "a.avi frame 5"
    for source, image in zip(found.sources, found.images(), strict=True):
        assert source.frame is not None
        assert abs(float(image.mean()) - source.frame) < 2
    assert found.fingerprint == collect_images(path, count=6, allow_small=True).fingerprint


def test_equal_frames_count_once(tmp_path: Path) -> None:
    found = collect_images(record(tmp_path / "a.avi", 30, still=True), count=5, allow_small=True)
    assert len(found) == 1
    assert len(found.duplicates) == 4


def test_several_videos_and_images(tmp_path: Path) -> None:
    record(tmp_path / "a.avi", 30)
    record(tmp_path / "b.avi", 30, still=True)
    write_image(tmp_path / "c.png")
    found = collect_images([f"{tmp_path}/*.avi", tmp_path / "c.png"], count=40, allow_small=True)
    by_file = [source.path.name for source in found.sources]
    assert by_file == ["a.avi"] * 30 + ["b.avi", "c.png"]
    assert len(list(found.images())) == 32


def test_a_video_that_ends_early_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record(tmp_path / "a.avi", 10)
    monkeypatch.setattr(Video, "count", lambda self: 20)
    found = collect_images(path, count=20, allow_small=True)
    assert len(found) == 10
    assert [s.name for s in found.skipped] == [f"a.avi frame {i}" for i in range(10, 20)]


@pytest.mark.parametrize("source", ["", "/*"])
def test_a_folder_or_pattern_may_hold_videos_and_images(source: str, tmp_path: Path) -> None:
    record(tmp_path / "a.avi", 10).rename(tmp_path / "a.dat")  # the content decides
    record(tmp_path / "b.avi", 10)
    write_image(tmp_path / "c.png", np.full((48, 64, 3), 90, np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    found = find_images([f"{tmp_path}{source}"], frames=2)
    assert sorted(image.name for image in found.images) == [
        "a.dat frame 2",
        "a.dat frame 7",
        "b.avi frame 2",
        "b.avi frame 7",
        "c.png",
    ]
    assert len(find_images([f"{tmp_path}/*.avi"], frames=3).images) == 3
