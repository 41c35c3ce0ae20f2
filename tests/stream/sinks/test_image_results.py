from __future__ import annotations

import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError, UnavailableError, UsageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.sinks.image_writer import ImageWriter
from ghost_deploy.stream.sinks.jsonl_writer import JSONL_SCHEMA, JsonlWriter
from ghost_deploy.stream.sinks.window import show

IMAGE = np.full((4, 6, 3), 7, np.uint8)
FOUND = Detections([[1, 2, 3, 4]], [0.5], [1], ("a", "ß"))


def frame(source: str | Path, index: int = 0) -> Frame:
    return Frame(IMAGE, index=index, source=str(source))


def test_no_frame_makes_an_empty_file(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.jsonl"
    with JsonlWriter(target):
        pass
    assert target.read_bytes() == b""


def test_a_line_for_each_frame(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("of an earlier run\n")
    with JsonlWriter(target) as lines:
        lines.write(frame("a b/ü.png", 3), FOUND)
        assert target.read_bytes().endswith(b"\n")  # a reader sees it at once
        lines.write(frame("b.png", 4), Detections.empty())
    first, second = map(json.loads, target.read_text(encoding="utf-8").splitlines())
    assert first == {
        "schema": JSONL_SCHEMA,
        "source": "a b/ü.png",
        "index": 3,
        "size_hw": [4, 6],
        "detections": [
            {"xyxy": [1.0, 2.0, 3.0, 4.0], "score": 0.5, "class_id": 1, "class_name": "ß"}
        ],
    }
    assert second["detections"] == []


def test_a_stream_is_left_open() -> None:
    stream = io.StringIO()
    with JsonlWriter(stream) as lines:
        lines.write(frame("x.png"), FOUND)
    assert json.loads(stream.getvalue())["source"] == "x.png"


def test_a_file_name_that_is_not_utf8() -> None:
    stream = io.StringIO()
    JsonlWriter(stream).write(frame(os.fsdecode(b"\xff.png")), FOUND)
    assert json.loads(stream.getvalue())["source"] == "\ufffd.png"


def test_lines_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write") as caught:
        JsonlWriter(tmp_path)
    assert str(tmp_path) in str(caught.value)
    if Path("/dev/full").exists():
        lines = JsonlWriter(Path("/dev/full"))
        with pytest.raises(InputError, match="No space left"):
            lines.write(frame("x.png"), FOUND)
        lines.close()


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


def test_a_second_run_replaces_the_images(tmp_path: Path) -> None:
    for value in (1, 200):
        path = ImageWriter(tmp_path).write(frame("a.png"), np.full((2, 2, 3), value, np.uint8))
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


def test_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UnavailableError, match="no display"):
        show(IMAGE, "x")


@pytest.mark.parametrize(
    ("keys", "visible", "goes_on"),
    [([-1, 32], 1, True), ([ord("q")], 1, False), ([27], 1, False), ([-1], 0, False)],
)
def test_a_window_waits_for_a_key(
    monkeypatch: pytest.MonkeyPatch, keys: list[int], visible: int, goes_on: bool
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    pressed = iter(keys)
    for name, answer in {
        "namedWindow": lambda *_: None,
        "imshow": lambda *_: None,
        "destroyWindow": lambda *_: None,
        "waitKey": lambda _: next(pressed),
        "getWindowProperty": lambda *_: visible,
    }.items():
        monkeypatch.setattr(cv2, name, answer)
    assert show(IMAGE, "x") is goes_on


def test_an_opencv_without_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")

    def refuse(*_: object) -> None:
        raise cv2.error("not implemented")

    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(UnavailableError, match="without windows"):
        show(IMAGE, "x")
