"""Lines of decoders on standard error, and the files that they are about."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.core.errors import ImageError
from ghost_deploy.processing.decoder_remarks import DecoderRemarks, decoded, named_remarks
from ghost_deploy.processing.images import read_image
from tests.support.image_files import damaged_jpeg

Capture = pytest.CaptureFixture[str]


def test_the_first_line_is_caught(capfd: Capture) -> None:
    with DecoderRemarks() as remarks:
        assert remarks.caught(lambda: 1) == (1, "")
        assert remarks.caught(lambda: os.write(2, b"first\nsecond\n")) == (13, "first")
        assert remarks.caught(lambda: os.write(2, b"x" * 999))[1] == "x" * 300
        assert remarks.caught(lambda: 2) == (2, "")
        with pytest.raises(ZeroDivisionError):
            remarks.caught(lambda: 1 // 0)
        os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"


def test_what_was_said_of_an_error_is_not_said_of_the_next_file() -> None:
    def fail() -> None:
        os.write(2, b"of the first\n")
        raise ImageError("x", fix="y")

    said: list[str] = []
    with named_remarks(said.append):
        with pytest.raises(ImageError):
            decoded("first", fail)
        assert decoded("second", lambda: 2) == 2
        assert decoded("third", lambda: os.write(2, b"of the third\n")) == 13
    assert said == ["third: of the third"]


def test_images_are_named(tmp_path: Path, capfd: Capture) -> None:
    files = {"good.png": cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()}
    files |= {"less.jpg": damaged_jpeg(), "b\u00e4d.jpg": damaged_jpeg()}
    said: list[str] = []
    with named_remarks(said.append):
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            read_image(tmp_path / name)
        other = threading.Thread(target=read_image, args=(tmp_path / "less.jpg",))
        other.start()
        other.join()
    read_image(tmp_path / "less.jpg")
    assert [line.partition(": Corrupt JPEG")[0] for line in said] == [
        str(tmp_path / "less.jpg"),
        str(tmp_path / "b\u00e4d.jpg"),
    ]
    # Of another thread, and of this one behind the block.
    assert capfd.readouterr().err.count("Corrupt JPEG") == 2


def test_without_standard_error() -> None:
    kept = os.dup(2)
    os.close(2)
    try:
        with named_remarks(pytest.fail):
            assert decoded("a", lambda: 1) == 1
    finally:
        os.dup2(kept, 2)
        os.close(kept)
