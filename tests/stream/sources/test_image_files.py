from __future__ import annotations

import os
from pathlib import Path

import pytest

from ghost_deploy.core.errors import ImageError
from ghost_deploy.stream.sources.image_files import find_images, read_frames
from tests.support.images import solid_image, write_image


def test_nothing_is_an_error(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "absent.png", tmp_path / "*.png"):
        with pytest.raises(ImageError, match="no image"):
            find_images([str(source)])


def test_an_image_whose_name_is_a_number_is_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "0")
    monkeypatch.chdir(tmp_path)
    assert find_images(["0"]) == [Path("0")]


def test_files_folders_and_globs_come_in_order_and_once(tmp_path: Path) -> None:
    a = write_image(tmp_path / "a" / "10.png")
    b = write_image(tmp_path / "a" / "9.png")
    c = write_image(tmp_path / "ü ö" / "画像 [1].png")
    sources = [str(c), str(tmp_path / "a"), str(tmp_path / "a" / "*.png"), str(a)]
    assert find_images(sources) == [c, b, a]


def test_frames_are_read_lazily_and_know_their_origin(tmp_path: Path) -> None:
    first, second = write_image(tmp_path / "1.png", solid_image((4, 6), 1)), tmp_path / "2.png"
    frames = read_frames([first, second], lambda path, error: pytest.fail(str(error)))
    assert not second.exists()
    one = next(frames)
    write_image(second, solid_image((4, 6), 2))
    two = next(frames)
    assert [int(frame.image[0, 0, 0]) for frame in (one, two)] == [1, 2]
    assert [frame.index for frame in (one, two)] == [0, 1]
    assert [frame.source for frame in (one, two)] == [str(first), str(second)]
    assert one.size_hw == (4, 6)
    assert 0 < one.t_capture_ns <= two.t_capture_ns


def test_an_unreadable_image_is_reported_and_the_others_follow(tmp_path: Path) -> None:
    good = [write_image(tmp_path / name) for name in ("1.png", "4.png")]
    empty, broken, gone = (tmp_path / name for name in ("2.png", "3.png", "5.png"))
    empty.touch()
    broken.write_bytes(b"not an image")
    reported: list[Path] = []
    frames = list(
        read_frames(
            [good[0], empty, broken, good[1], gone], lambda path, error: reported.append(path)
        )
    )
    assert [frame.index for frame in frames] == [0, 3]
    assert reported == [empty, broken, gone]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_an_image_without_read_permission_is_reported(tmp_path: Path) -> None:
    secret = write_image(tmp_path / "1.png")
    secret.chmod(0)
    reported: list[ImageError] = []
    assert list(read_frames([secret], lambda path, error: reported.append(error))) == []
    assert "1.png" in str(reported[0])
