from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ghost_deploy.core.errors import ImageError
from ghost_deploy.stream.sources.jpeg import JpegSplitter, decode_jpeg
from tests.support.camera_servers import jpeg, part
from tests.support.numbered_frames import read_number

JPEGS = [jpeg(number) for number in range(3)]
# An EXIF segment with a thumbnail: a whole image inside an image.
THUMBNAIL = JPEGS[1]
NESTED = (
    JPEGS[0][:2] + b"\xff\xe1" + (len(THUMBNAIL) + 2).to_bytes(2, "big") + THUMBNAIL + JPEGS[0][2:]
)


def split(data: bytes, step: int | None = None) -> list[bytes | None]:
    splitter = JpegSplitter()
    step = step or len(data)
    found: list[bytes | None] = []
    for start in range(0, len(data), step):
        found += splitter.feed(data[start : start + step])
    return found


def test_nothing() -> None:
    splitter = JpegSplitter()
    assert list(splitter.feed(b"")) == []
    assert not splitter.pending


@pytest.mark.parametrize("step", [1, 7, 4096, None])
@pytest.mark.parametrize(
    "data",
    [b"".join(JPEGS), b"".join(part(number) for number in range(3))],
    ids=["one after another", "multipart"],
)
def test_images_come_whole_however_the_bytes_arrive(data: bytes, step: int | None) -> None:
    assert split(data, step) == JPEGS


@pytest.mark.parametrize("step", [1, None])
def test_a_thumbnail_does_not_end_an_image(step: int | None) -> None:
    assert split(NESTED + JPEGS[2], step) == [NESTED, JPEGS[2]]


@pytest.mark.parametrize("step", [1, None])
def test_what_is_cut_off_is_told_and_the_next_is_found(step: int | None) -> None:
    in_scan = JPEGS[0][:-300]
    in_header = JPEGS[0][:30]
    assert split(in_scan + JPEGS[1], step) == [None, JPEGS[1]]
    # The header's segment swallows the start of the next image; the one after it is whole.
    assert split(in_header + JPEGS[1] + JPEGS[2], step)[-1] == JPEGS[2]


def sloppy(*bodies: bytes, declared: bool = True, more: int = 0, newline: bytes = b"\r\n") -> bytes:
    """Parts with those bodies; the declared lengths are `more` than right."""
    lengths = [f"Content-Length: {len(body) + more}\r\n" if declared else "" for body in bodies]
    heads = [f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n" for length in lengths]
    return b"".join(
        head.encode() + body + newline for head, body in zip(heads, bodies, strict=True)
    )


BARE = [data[:-2] for data in JPEGS]  # without their end markers
OLD = JPEGS[2]  # what a buffer still held
SLOPPY = {
    "padded": sloppy(*(data + bytes(37) for data in JPEGS)),
    "padded beyond the read size": sloppy(*(data + b"\xff" * 5000 for data in JPEGS)),
    "padded with an older image": sloppy(*(data + OLD[:-50] + b"junk" for data in JPEGS)),
    "padded with a whole older image": sloppy(*(data + OLD for data in JPEGS)),
    "a declared length that is too long": sloppy(*JPEGS, more=1000),
    "a declared length that is too short": sloppy(*JPEGS, more=-100),
    "a length that counts the line break": sloppy(*JPEGS, more=2),
    "no end marker": sloppy(*BARE) + b"--frame--",
    "no end marker, no length": sloppy(*BARE, declared=False) + b"--frame--",
    "no end marker, bare line feeds": sloppy(*BARE, newline=b"\n") + b"--frame--",
    "no end marker, the line break counted": sloppy(*BARE, more=2) + b"--frame--",
    "no line break before the boundary": sloppy(*JPEGS, newline=b""),
}


@pytest.mark.parametrize("step", [1, 7, 1000, None])
@pytest.mark.parametrize("data", SLOPPY.values(), ids=SLOPPY)
def test_sloppy_cameras_lose_no_image(data: bytes, step: int | None) -> None:
    assert split(data, step) == JPEGS


def test_an_image_without_end_marker_does_not_wait_for_the_next_boundary() -> None:
    # The first image shows that the camera sends no end markers.
    assert split(sloppy(*BARE)) == JPEGS
    assert split(sloppy(*BARE)[:-2]) == JPEGS


@pytest.mark.parametrize("step", [1, None])
@pytest.mark.parametrize("declared", [True, False])
def test_a_part_that_was_cut_off_is_broken(declared: bool, step: int | None) -> None:
    # A camera that sends end markers: one without was cut off.
    whole = sloppy(JPEGS[0], declared=declared)
    cut = sloppy(JPEGS[1][:-300], declared=declared, more=300)
    assert split(whole + cut + sloppy(JPEGS[2]), step) == [JPEGS[0], None, JPEGS[2]]
    if declared:
        without = sloppy(BARE[0]), sloppy(BARE[1][:-300], more=300), sloppy(BARE[2])
        assert split(b"".join(without), step) == [JPEGS[0], None, JPEGS[2]]


def test_a_length_without_parts() -> None:
    with_line_break = f"Content-Length: {len(JPEGS[0]) + 2}\r\n\r\n".encode() + JPEGS[0]
    assert split(with_line_break) == [JPEGS[0]]


def test_fill_bytes_before_a_marker() -> None:
    filled = JPEGS[0][:-2] + b"\xff\xff\xff\xd9"
    assert split(filled) == [filled]


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_noise_makes_no_image_and_does_not_hide_them_for_long(noise: list[bytes]) -> None:
    # What looks like a header may swallow 64 KiB.
    found = split(b"".join(noise) + b"".join(JPEGS) * 30, 9973)
    assert found[-3:] == JPEGS
    assert set(found) <= {None, *JPEGS}


def test_noise_without_end_is_not_kept() -> None:
    splitter = JpegSplitter()
    for _ in range(100):
        assert list(splitter.feed(bytes(10_000))) == []
    assert len(splitter._data) < 5000


def test_decoding() -> None:
    image = decode_jpeg(JPEGS[2])
    assert image.shape == (96, 320, 3)
    assert image.dtype == np.uint8
    assert read_number(image) == 2
    for bad in (b"", b"\xff\xd8\xff\xd9", b"x" * 100):
        with pytest.raises(ImageError, match="JPEG image of the stream"):
            decode_jpeg(bad)
