from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.raw import RawReader, open_reader
from ghost_deploy.stream.sources.uri import parse_source
from tests.support.numbered_frames import numbered_frame, read_number

HW = (48, 320)


@dataclass
class Pipe:
    reading: int
    writing: int

    def put(self, data: bytes) -> None:
        """Write in a thread: a pipe holds less than an image."""
        threading.Thread(target=self._put, args=(data,)).start()

    def _put(self, data: bytes) -> None:
        while data:
            data = data[os.write(self.writing, data) :]

    def reader(self, timeout_s: float = 5.0) -> RawReader:
        return RawReader(self.reading, HW, timeout_s)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe(*os.pipe())
    yield made
    os.close(made.reading)


def image(number: int) -> bytes:
    return numbered_frame(number, HW).tobytes()


def number_of(reader: RawReader) -> int | None:
    assert reader.grab() is not None
    return read_number(reader.load()())


def test_nothing(pipe: Pipe) -> None:
    os.close(pipe.writing)
    assert pipe.reader().grab() is None


def test_images_without_gaps(pipe: Pipe) -> None:
    reader = pipe.reader()
    pipe.put(b"".join(map(image, range(5))))
    assert [number_of(reader) for _ in range(5)] == list(range(5))


def test_the_end_within_an_image_is_left_out(pipe: Pipe) -> None:
    os.write(pipe.writing, image(1)[:1000])
    os.close(pipe.writing)
    assert pipe.reader().grab() is None


def test_a_pause_within_an_image_mixes_nothing(pipe: Pipe) -> None:
    first, rest = image(1)[:1000], image(1)[1000:]
    os.write(pipe.writing, first)
    with pytest.raises(InputError, match="standard input"):
        pipe.reader(0.05).grab()
    with pytest.raises(InputError, match="standard input"):
        pipe.reader(0.05).grab()
    pipe.put(rest + image(2))
    reader = pipe.reader()
    assert [number_of(reader), number_of(reader)] == [1, 2]


@pytest.mark.parametrize("word", ["raw:", "raw:640", "raw:0x480", "raw:640x-1", "raw:640x480x3"])
def test_a_size_that_is_none(word: str) -> None:
    with pytest.raises(UsageError, match="gives no size"):
        parse_source(word)


def test_the_size_in_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    source = parse_source("raw:1920x1080")
    assert (source.kind, source.is_live) == ("raw", True)
    with open(os.devnull) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert open_reader(source, LivePolicy())._hw == (1080, 1920)
