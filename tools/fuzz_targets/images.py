"""Images, streams and videos."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import cv2
import numpy as np

import ghost_deploy as gd
from tests.support.image_files import huge_headers, png_with_exif, tiff, webp_with_exif
from tools.fuzz_targets.target import SIDE, Target, small_scene


class ImageTarget(Target):
    """An image file of any format."""

    name = "image"

    def make(self) -> Sequence[bytes]:
        image = small_scene()
        found = []
        for suffix in (".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".ras", ".gif", ".jp2"):
            with contextlib.suppress(cv2.error):  # a format that this OpenCV does not write
                done, data = cv2.imencode(suffix, image)
                if done:
                    found.append(bytes(data))
        png, webp = (bytes(cv2.imencode(suffix, image)[1]) for suffix in (".png", ".webp"))
        found += [png_with_exif(png, 6), webp_with_exif(webp, (SIDE, SIDE), 3), tiff(image)]
        return [*found, *huge_headers(3000, 2000).values()]

    def run(self, data: bytes) -> object:
        from ghost_deploy.processing.images import read_image

        (self.folder / "image").write_bytes(data)
        return read_image(self.folder / "image").shape


class MjpegTarget(Target):
    """What a camera sends: parts of a multipart answer."""

    name = "mjpeg"
    tokens = (
        b"--frame\r\n",
        b"\xff\xd8\xff\xe0",
        b"\xff\xd9",
        b"Content-Length: 9999999999\r\n",
        b"\r\n\r\n",
        b"Content-Length: 0\r\n",
        b"\xff\xda",
    )

    def make(self) -> Sequence[bytes]:
        from tests.support.camera_servers import part

        return [b"".join(part(number, (32, 64)) for number in range(3))]

    def run(self, data: bytes) -> object:
        from ghost_deploy.processing.decode_image import decode_image
        from ghost_deploy.stream.sources.jpeg import JpegSplitter

        splitter, seen = JpegSplitter(), 0
        for at in range(0, len(data), 1000):
            for image in splitter.feed(data[at : at + 1000]):
                if image is not None:
                    seen += 1
                    with contextlib.suppress(gd.ImageError):
                        decode_image(image)
        return seen


class VideoTarget(Target):
    """A short video file."""

    name = "video"

    def make(self) -> Sequence[bytes]:
        found = []
        for suffix, code in (
            (".mp4", "mp4v"),
            (".avi", "MJPG"),
            (".mkv", "MJPG"),
            (".avi", "XVID"),
        ):
            path = self.folder / f"made{suffix}"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, (SIDE, SIDE))
            for index in range(5):
                writer.write(np.roll(small_scene(), index, axis=1))
            writer.release()
            if path.exists() and path.stat().st_size > 500:
                found.append(path.read_bytes())
        return found

    def run(self, data: bytes) -> object:
        from ghost_deploy.stream.policy import LivePolicy
        from ghost_deploy.stream.sources.source_table import SourceAddress, open_source

        path = self.folder / "video.mp4"
        path.write_bytes(data)
        reader = open_source(SourceAddress("video", str(path), "video.mp4"), LivePolicy())
        try:
            count = 0
            while count < 40 and reader.grab() is not None:
                if not reader.is_broken:
                    reader.load()
                count += 1
            return count
        finally:
            reader.close()
