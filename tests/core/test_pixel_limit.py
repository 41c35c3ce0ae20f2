from __future__ import annotations

import io
import os
import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest

from ghost_deploy.core.errors import ImageError, ImageTooLargeError, UsageError
from ghost_deploy.core.pixel_limit import (
    MAX_PIXELS,
    VARIABLE,
    check_pixels,
    max_pixels,
    set_max_pixels,
)
from ghost_deploy.processing.decode_image import decode_image
from ghost_deploy.processing.images import as_bgr, check_image, read_image
from tests.support.image_files import huge_headers, tiff

HUGE = huge_headers(65_500, 65_500)


@pytest.fixture(autouse=True)
def _own_limit(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "5", True, None, 10**15])
def test_what_is_no_limit(wrong):
    with pytest.raises(UsageError, match="not a number of pixels"):
        set_max_pixels(wrong)
    assert max_pixels() == MAX_PIXELS


@pytest.mark.parametrize("wrong", ["", "0", "-1", "1e8", "many", "9" * 16, "\u0661"])
def test_a_wrong_variable_is_named(monkeypatch, wrong):
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(UsageError, match=f"{VARIABLE} is not a number of pixels"):
        max_pixels()


def test_the_limit_itself_may_be_reached(monkeypatch):
    monkeypatch.setenv(VARIABLE, "100")
    check_pixels(10, 10, "the image")
    with pytest.raises(ImageTooLargeError) as caught:
        check_pixels(101, 1, "the image a.png")
    message = str(caught.value)
    assert message.startswith("the image a.png is larger than the limit: got 101 x 1 pixels")
    assert "--max-pixels" in message


def test_a_camera_of_a_hundred_megapixels_is_within_the_limit():
    check_pixels(11_648, 8_736, "the image")
    check_pixels(12_000, 9_000, "the image")


@pytest.mark.parametrize("name", HUGE)
def test_every_format_is_refused_by_its_header(tmp_path, name):
    (tmp_path / name).write_bytes(HUGE[name])
    for read in (read_image, check_image, lambda path: as_bgr(path.read_bytes())):
        with pytest.raises(ImageTooLargeError, match="65500 x 65500 pixels"):
            read(tmp_path / name)


@pytest.mark.parametrize("name", sorted(HUGE.keys() - {"a.webp", "tile.tif", "frame.gif"}))
def test_an_image_without_pixels_is_damaged(name):
    with pytest.raises(ImageError, match="is damaged") as caught:
        decode_image(huge_headers(0, 0)[name])
    assert not isinstance(caught.value, ImageTooLargeError)


@pytest.mark.parametrize(
    "data",
    [
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 65500 +X 65500\n",
        b"\x76\x2f\x31\x01\2\0\0\0" + bytes(100),
        b"\xff\x0a" + bytes(20),
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50),
        b"8BPS\0\1" + bytes(20),
    ],
    ids=["hdr", "exr", "jxl", "heif", "psd"],
)
def test_formats_without_a_reader_are_refused_by_name(data):
    with pytest.raises(ImageError, match=r"(HDR|EXR|JXL|HEIF|PSD) is not read"):
        decode_image(data)


def test_a_tiff_may_announce_tiles_or_bits_in_any_order(monkeypatch):
    monkeypatch.setenv(VARIABLE, "1000")
    decode_image(tiff(np.zeros((20, 30), np.uint16), order=">"))
    with pytest.raises(ImageTooLargeError):
        decode_image(tiff(np.zeros((40, 30), np.uint16), order=">"))


@pytest.mark.parametrize(
    "suffix", [".jpg", ".png", ".webp", ".bmp", ".tif", ".jp2", ".ppm", ".ras"]
)
def test_a_good_image_has_the_size_of_its_header(monkeypatch, suffix):
    image = np.zeros((60, 80, 3), np.uint8)
    data = cv2.imencode(suffix, image)[1].tobytes()
    monkeypatch.setenv(VARIABLE, "4800")
    assert decode_image(data).shape == image.shape
    monkeypatch.setenv(VARIABLE, "4799")
    with pytest.raises(ImageTooLargeError, match="80 x 60"):
        decode_image(data)


PROGRAM = """
import re, sys
from ghost_deploy.processing.images import read_image
from ghost_deploy.core.errors import ImageTooLargeError

def peak_mb():
    # Not ru_maxrss, which a child inherits from the process that started it.
    status = open("/proc/self/status").read()
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) // 1024

before = peak_mb()  # of the libraries: 45 MB of a wheel of OpenCV, 120 MB of Debian's
refused = 0
for path in sys.argv[1:]:
    try:
        read_image(path)
    except ImageTooLargeError:
        refused += 1
print(refused, peak_mb() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_the_peak_of_refused_files_is_small(tmp_path):
    """Also of a real file of 300 MB, which is never read whole."""
    names = []
    for name, data in HUGE.items():
        (tmp_path / name).write_bytes(data)
        names.append(str(tmp_path / name))
    with open(tmp_path / "sparse.bmp", "wb") as file:
        file.write(HUGE["a.bmp"])
        file.truncate(300 << 20)
    with open(tmp_path / "sparse.png", "wb") as file:
        file.write(HUGE["a.png"])
        file.truncate(300 << 20)
    names += [str(tmp_path / "sparse.bmp"), str(tmp_path / "sparse.png")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, check=True
    )
    refused, peak_mb = map(int, done.stdout.split())
    assert refused == len(names)
    assert peak_mb < 50


@pytest.mark.parametrize("animated", [False, True])
def test_an_avif_cannot_hide_the_size_of_its_data(monkeypatch, animated):
    """The decoder allocates what the AV1 data say, and OpenCV scales that to the description."""
    image_module = pytest.importorskip("PIL.Image")
    if not pytest.importorskip("PIL.features").check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file, image = io.BytesIO(), image_module.new("RGB", (640, 480), (1, 200, 3))
    more = {"save_all": True, "append_images": [image.rotate(90)]} if animated else {}
    image.save(file, "AVIF", **more)
    data = file.getvalue()
    for sides in (struct.pack(">II", 640, 480), struct.pack(">HH", 640, 480)):
        data = data.replace(
            sides, bytes(len(sides) // 2 - 1) + b"\x10" + bytes(len(sides) // 2 - 1) + b"\x10"
        )
    monkeypatch.setenv(VARIABLE, str(640 * 480 - 1))
    with pytest.raises(ImageTooLargeError, match="640 x 480"):
        decode_image(data)


@pytest.mark.parametrize("length", [2**31 - 1, 2**31, 2**32 - 1, 10_000])
@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"eXIf", b"IEND"])
def test_a_chunk_of_a_png_cannot_announce_more_than_the_file(kind, length):
    """OpenCV allocates that length before it reads."""
    data = cv2.imencode(".png", np.zeros((60, 80, 3), np.uint8))[1].tobytes()
    forged = data[:33] + length.to_bytes(4, "big") + kind + data[41:]
    with pytest.raises(ImageError, match="middle of a chunk"):
        decode_image(forged)


def test_a_file_larger_than_any_image_is_not_read(tmp_path):
    path = tmp_path / "sparse.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    os.truncate(path, MAX_PIXELS * 40)
    with pytest.raises(ImageError, match="too large a file"):
        read_image(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for read in (read_image, check_image):
        with pytest.raises(ImageError, match="not a regular file"):
            read(tmp_path / "pipe.jpg")
