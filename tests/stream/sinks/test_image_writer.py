from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.sinks.image_writer import ImageWriter

IMAGE = np.full((4, 6, 3), 7, np.uint8)


def frame(source: str | Path) -> Frame:
    return Frame(IMAGE, source=str(source))


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["x/cell.jpg", "y/cell.jpg", "y/Cell.JPG"], ["cell.jpg", "cell-2.jpg", "Cell-3.JPG"]),
        (["cell.png", "cell-2.png", "z/cell.png"], ["cell.png", "cell-2.png", "cell-3.png"]),
        (["page.pgm", "page.jpg"], ["page.jpg", "page-2.jpg"]),
        (["画像 [1].tiff", ""], ["画像 [1].tiff", "frame.jpg"]),
    ],
)
def test_names_follow_the_sources(tmp_path: Path, sources: list[str], names: list[str]) -> None:
    writer = ImageWriter(tmp_path / "out")
    written = [writer.write(frame(source), IMAGE) for source in sources]
    assert [path.name for path in written] == names
    assert all(cv2.imdecode(np.fromfile(path, np.uint8), 1).shape == (4, 6, 3) for path in written)
    assert sorted(os.listdir(tmp_path / "out")) == sorted(names)


def test_a_second_run_replaces_the_images_only_where_it_may(tmp_path: Path) -> None:
    for value in (1, 200):
        writer = ImageWriter(tmp_path, overwrite=True)
        writer.require_free([Path("a.png")])
        path = writer.write(frame("a.png"), np.full((2, 2, 3), value, np.uint8))
    assert cv2.imread(str(path))[0, 0, 0] == 200
    with pytest.raises(UsageError, match="exists already"):
        ImageWriter(tmp_path).write(frame("a.png"), IMAGE)
    careful = ImageWriter(tmp_path)
    with pytest.raises(UsageError, match=r"a\.png exists already"):
        careful.require_free([Path("b.png"), Path("a.png")])
    careful.require_free([Path("x/b.png"), Path("y/b.png")])
    assert cv2.imread(str(path))[0, 0, 0] == 200
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_source_is_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(b"precious")
    with pytest.raises(UsageError, match="overwritten"):
        ImageWriter(tmp_path).write(frame(source), IMAGE)
    assert source.read_bytes() == b"precious"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        ImageWriter(tmp_path / "file" / "out")


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ImageWriter(tmp_path)

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        writer.write(frame("a.png"), IMAGE)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="Permission denied"):
        ImageWriter(tmp_path).write(frame("a.png"), IMAGE)


def test_the_longest_file_name(tmp_path: Path) -> None:
    name = "x" * 251 + ".jpg"
    assert ImageWriter(tmp_path).write(frame(name), IMAGE).name == name
