from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.sinks.jsonl_writer import JSONL_SCHEMA, JsonlWriter

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


OTHERS = {
    "an image": b"\xff\xd8\xff\xe0\x00\x10JFIF",
    "a list": b"a.jpg\nb.jpg\n",
    "a bundle": b'{\n  "spec": {}}',
    "labels": b'{"images":[]}',
    "one letter": b"x",
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_lines_are_not_added_to_another_file(tmp_path: Path, content: bytes) -> None:
    target = tmp_path / "file"
    target.write_bytes(content)
    with pytest.raises(UsageError, match="something else than results"):
        JsonlWriter(target, append=True)
    assert target.read_bytes() == content


@pytest.mark.parametrize("before", [b"", b'{"sch', b'{"schema":7,"new":1}\n', b'{"schema":1,"s'])
def test_lines_are_added_to_those_of_an_earlier_run(tmp_path: Path, before: bytes) -> None:
    target = tmp_path / "out.jsonl"
    target.write_bytes(before)
    with JsonlWriter(target, append=True) as lines:
        lines.write(frame("x.png"), FOUND)
    found = target.read_bytes()
    assert found.startswith(before)
    assert json.loads(found.splitlines()[-1])["source"] == "x.png"


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
    with pytest.raises(UsageError, match="is a folder") as caught:
        JsonlWriter(tmp_path)
    assert str(tmp_path / "detections.jsonl") in caught.value.fix
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write") as refused:
        JsonlWriter(tmp_path / "file" / "lines.jsonl")
    assert str(tmp_path) in str(refused.value)
    if Path("/dev/full").exists():
        lines = JsonlWriter(Path("/dev/full"))
        with pytest.raises(InputError, match="No space left"):
            lines.write(frame("x.png"), FOUND)
        lines.close()
