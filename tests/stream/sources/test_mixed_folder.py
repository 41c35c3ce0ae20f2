"""Folders and patterns of images and videos; the content decides what a file is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy.processing.video_kind import is_video
from ghost_deploy.stream.sources.uri import parse_source, parse_sources
from tests.support.images import solid_image, write_image
from tests.support.videos import ffmpeg, needs_ffmpeg, write_video

pytest.importorskip("av")


def kinds(words: list[str], said: list[str] | None = None) -> list[tuple[str, str]]:
    said = [] if said is None else said
    return [(each.kind, Path(each.target).name) for each in parse_sources(words, said.append)]


def test_an_empty_folder_and_a_pattern_of_nothing(tmp_path: Path) -> None:
    assert kinds([str(tmp_path)]) == [("images", tmp_path.name)]
    assert kinds([f"{tmp_path}/*.mp4"]) == [("images", "*.mp4")]
    (tmp_path / "notes.txt").write_text("x")
    assert kinds([str(tmp_path)]) == [("images", tmp_path.name)]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("clip10.mp4", "clip2.mkv", ".hidden.mp4"):
        write_video(folder / name, 3)
    for name in ("a.png", "b.jpg"):
        write_image(folder / name, solid_image((20, 30)))
    for name in ("a.txt", "b.txt", "data.yaml"):
        (folder / name).write_text("x")
    (folder / "deeper").mkdir()
    return folder


def test_a_folder_of_both(mixed: Path) -> None:
    said: list[str] = []
    expected = [("images", "mixed"), ("video", "clip2.mkv"), ("video", "clip10.mp4")]
    assert kinds([str(mixed)], said) == expected
    assert said == [f"{mixed}: neither images nor videos, left out: 2 .txt, 1 .yaml"]


def test_patterns_of_both(mixed: Path) -> None:
    assert kinds([f"{mixed}/clip*"]) == [("video", "clip2.mkv"), ("video", "clip10.mp4")]
    assert kinds([f"{mixed}/*.png"]) == [("images", "*.png")]
    assert kinds([f"{mixed}/*.[mp]*"]) == [
        ("images", "*.[mp]*"),
        ("video", "clip2.mkv"),
        ("video", "clip10.mp4"),
    ]
    assert kinds([f"{mixed.parent}/**/clip2*"]) == [("video", "clip2.mkv")]


def test_a_folder_of_images_only_stays_one_source(mixed: Path) -> None:
    for path in mixed.glob("*clip*"):
        path.unlink()
    assert kinds([str(mixed)]) == [("images", "mixed")]


MADE = {
    "3gp": ("-c:v", "h263", "-s", "352x288"),
    "m2ts": ("-c:v", "libx264"),
    "mts": ("-c:v", "libx264", "-f", "mpegts"),
    "vob": ("-c:v", "mpeg2video"),
    "asf": ("-c:v", "msmpeg4"),
    "h264": ("-c:v", "libx264"),
    "gif": (),
    "webm": ("-c:v", "libvpx"),
    "ogv": ("-c:v", "libtheora"),
    "mjpeg": ("-c:v", "mjpeg"),
    "apng": ("-f", "apng", "-plays", "0"),
}


@pytest.mark.parametrize("suffix", MADE)
def test_content_decides_and_not_the_suffix(suffix: str, tmp_path: Path) -> None:
    needs_ffmpeg()
    source = write_video(tmp_path / "source.mkv", 6)
    made = tmp_path / f"made.{suffix}"
    ffmpeg("-i", source, *MADE[suffix], made)
    assert made.stat().st_size
    assert parse_source(str(made)).kind == "video"
    if suffix != "mjpeg":  # images one after another are told by their suffix only
        for other in ("made.dat", "made"):
            shutil.copy(made, tmp_path / other)
            assert parse_source(str(tmp_path / other)).kind == "video"


@pytest.mark.parametrize("name", ["a.jpg", "a.mp4", "a"])
def test_an_image_stays_an_image(name: str, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", solid_image((20, 30)))
    (tmp_path / "a.png").rename(tmp_path / name)
    assert parse_source(str(tmp_path / name)).kind == "images"


def test_a_gif_of_one_image_is_an_image(tmp_path: Path) -> None:
    needs_ffmpeg()
    source = write_video(tmp_path / "source.mkv", 1)
    ffmpeg("-i", source, "-frames:v", "1", tmp_path / "one.gif")
    assert not is_video(tmp_path / "one.gif")


@pytest.mark.parametrize("name", ["clip.mp4", "empty.avi", "odd.m2ts"])
def test_a_file_of_unknown_content_is_judged_by_its_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    assert is_video(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["2026-01-01T10:00:00.mp4", "file:x.mkv", "rtsp:x.mp4", "a b#c?.mp4"]
)
def test_names_with_colons_are_files(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    from ghost_deploy.calib.images.video_frames import Video
    from ghost_deploy.stream.policy import LivePolicy
    from ghost_deploy.stream.sources.video_cv import CvVideoReader
    from ghost_deploy.stream.sources.video_file import open_reader

    write_video(tmp_path / "plain.mkv", 3).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    source = parse_source(name)
    assert (source.kind, source.target) == ("video", name)
    for reader in (open_reader(source, LivePolicy()), CvVideoReader(source, str(tmp_path / name))):
        assert reader.grab() is not None
        assert reader.load()().shape == (96, 320, 3)
        reader.close()
    assert np.asarray(Video(Path(name)).frame(1)).shape == (96, 320, 3)
