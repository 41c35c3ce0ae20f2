"""Open a source of any kind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ghost_deploy.processing.images import list_images, read_image
from ghost_deploy.stream.mjpeg import HttpMjpegReader, PipeMjpegReader
from ghost_deploy.stream.opencv import (
    open_camera,
    open_pipeline,
    open_rtsp,
    open_video,
    require_gstreamer,
)
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.reader import Loader, Reader
from ghost_deploy.stream.uri import Kind, Source

__all__ = ["ImagesReader", "check_readable", "open_reader"]


def check_readable(sources: Iterable[Source]) -> None:
    """Raise if there is a source that the software of this machine cannot read at all.

    Raises:
        UnavailableError: there is one.
    """
    if any(source.kind in {"csi", "gstreamer"} for source in sources):
        require_gstreamer()


def open_reader(source: Source, policy: LivePolicy) -> Reader:
    """Open `source`, waiting at most `policy.open_timeout_s`.

    Raises:
        InputError: it is not there, or gives nothing that can be read.
        UnavailableError: this OpenCV cannot read sources of that kind.
    """
    openers: dict[Kind, Callable[[], Reader]] = {
        "images": lambda: ImagesReader(list_images(source.target)),
        "video": lambda: open_video(source),
        "camera": lambda: open_camera(source),
        "rtsp": lambda: open_rtsp(source, policy),
        "mjpeg": lambda: HttpMjpegReader(source, policy),
        "stdin": lambda: PipeMjpegReader(sys.stdin.fileno(), policy.read_timeout_s),
        "csi": lambda: open_pipeline(source),
        "gstreamer": lambda: open_pipeline(source),
    }
    return openers[source.kind]()


class ImagesReader:
    """Image files, one after another; one that cannot be read is a broken frame."""

    rate: float | None = None

    def __init__(self, paths: list[Path]) -> None:
        self._paths: Iterator[Path] = iter(paths)
        self._path = Path()

    def grab(self) -> int | None:
        path = next(self._paths, None)
        if path is None:
            return None
        self._path = path
        return time.monotonic_ns()

    def load(self) -> Loader:
        path = self._path
        return lambda: read_image(path)

    def close(self) -> None:
        self._paths = iter(())
