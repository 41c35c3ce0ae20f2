from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.processing.file_kind import HEAD_BYTES, file_kind, image_format, kind_of_file

IMAGE = np.arange(64 * 80 * 3, dtype=np.uint32).reshape(64, 80, 3).astype(np.uint8)


@pytest.mark.parametrize(
    "content",
    [b"", b"a", b"BM", b"text\n" * 100, bytes(4096), b"\xff\xd8", b"GIF", b"PK\3\4", b"P5x"],
)
def test_what_is_neither_image_nor_video(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    assert kind_of_file(tmp_path / "a.jpg") == ""


def test_no_regular_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert kind_of_file(tmp_path / "pipe.jpg") == ""
    assert kind_of_file(tmp_path) == ""
    with pytest.raises(FileNotFoundError):
        kind_of_file(tmp_path / "gone.jpg")


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (".jpg", "jpeg"),
        (".png", "png"),
        (".bmp", "bmp"),
        (".webp", "webp"),
        (".tif", "tiff"),
        (".jp2", "jp2"),
        (".ppm", "pnm"),
        (".ras", "ras"),
    ],
)
def test_images_of_every_format(tmp_path, suffix, name):
    done, data = cv2.imencode(suffix, IMAGE)
    assert done
    path = tmp_path / "a.mp4"
    path.write_bytes(data.tobytes())
    assert image_format(data.tobytes()) == name
    assert kind_of_file(path) == "image"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "avif"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "avif"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heif"),
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"MM\0+\0\x08\0\0", "tiff"),
        (b"\xff\x0a\x00", "jxl"),
        (b"#?RADIANCE\n", "hdr"),
        (b"\x76\x2f\x31\x01\2\0\0\0", "exr"),
        (b"\xff\x4f\xff\x51\0\x29", "j2k"),
    ],
)
def test_images_that_only_some_programs_write(head, name):
    assert (image_format(head), file_kind(head)) == (name, "image")


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x2cftypavis\0\0\0\0avifavis",
        b"\0\0\0\x18ftyphevc\0\0\0\0mif1hevc",
        b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0",
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x0dIHDR" + bytes(17) + b"\0\0\0\x08acTL\0\0\0\2" + bytes(8),
    ],
)
def test_animations_by_their_header(head):
    assert file_kind(head) == "animation"


def gif(frames: int, *, loop: bool = False, comment: int = 0) -> bytes:
    """A GIF of 2 x 2 pixels; each frame has a colour table of its own."""
    data = b"GIF89a" + b"\2\0\2\0\x80\0\0" + b"\0\0\0\xff\xff\xff"
    data += b"\x21\xff\x0bNETSCAPE2.0\3\1\0\0\0" if loop else b""
    for _ in range(comment):
        data += b"\x21\xfe\xff" + b"\x2c" * 255 + b"\0"
    for _ in range(frames):
        data += b"\x21\xf9\4\0\0\0\0\0"
        data += b"\x2c\0\0\0\0\2\0\2\0\x80" + bytes(6) + b"\2\2\x44\x0a\0"
    return data + b";"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (gif(1), "image"),
        (gif(1, loop=True), "image"),
        (gif(2), "animation"),
        (gif(3, loop=True), "animation"),
        (gif(2, comment=2 * HEAD_BYTES // 256), "animation"),
        (gif(1, comment=3), "image"),
        (gif(2)[:30], "image"),
    ],
    ids=["still", "loop of one", "two", "three", "second behind the head", "comment", "cut off"],
)
def test_a_gif_is_animated_if_it_has_a_second_frame(tmp_path, data, kind):
    (tmp_path / "a.png").write_bytes(data)
    assert kind_of_file(tmp_path / "a.png") == kind


def write_video(path: Path, container: str, codec: str, **options: str) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format=container, options=options) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if container == "mxf":
            stream.bit_rate = 1_000_000
        for _ in range(4):
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "bgr24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        ("mp4", "mpeg4", {}),
        ("mov", "mjpeg", {}),
        ("3gp", "mpeg4", {}),
        ("matroska", "mpeg4", {}),
        ("webm", "libvpx", {}),
        ("avi", "mjpeg", {}),
        ("flv", "flv", {}),
        ("asf", "mpeg4", {}),
        ("mpegts", "mpeg2video", {}),
        ("mpegts", "mpeg2video", {"mpegts_m2ts_mode": "1"}),
        ("vob", "mpeg2video", {}),
        ("mpeg2video", "mpeg2video", {}),
        ("h264", "libx264", {}),
        ("hevc", "libx265", {"x265-params": "log-level=none"}),
        ("ivf", "libvpx", {}),
        ("yuv4mpegpipe", "rawvideo", {}),
        ("nut", "mpeg4", {}),
    ],
)
def test_videos_of_every_container(tmp_path, container, codec, options):
    av = pytest.importorskip("av")
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    write_video(tmp_path / "a.jpg", container, codec, **options)
    assert kind_of_file(tmp_path / "a.jpg") == "video"


def test_a_playlist():
    assert file_kind(b"#EXTM3U\n#EXT-X-VERSION:3\n") == "playlist"
