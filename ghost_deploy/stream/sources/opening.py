"""Open a source of any kind."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ghost_deploy.processing.images import list_images, read_image
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.gstreamer import open_gstreamer, probe_gstreamer, require_gstreamer
from ghost_deploy.stream.sources.mjpeg import HttpMjpegReader, PipeMjpegReader
from ghost_deploy.stream.sources.opencv import open_camera, open_rtsp, open_video
from ghost_deploy.stream.sources.raw import RawReader
from ghost_deploy.stream.sources.reader import Loader, Reader
from ghost_deploy.stream.sources.uri import Kind, Source

__all__ = ["ImagesReader", "by_gstreamer", "check_readable", "open_reader"]


def check_readable(sources: Iterable[Source], policy: LivePolicy) -> None:
    """Raise if there is a source that the software of this machine cannot read at all.

    Raises:
        UnavailableError: there is one.
    """
    for source in sources:
        if by_gstreamer(source, policy):
            require_gstreamer(source)


def by_gstreamer(source: Source, policy: LivePolicy) -> bool:
    """Whether GStreamer reads `source`, and not OpenCV or this package itself."""
    if source.kind != "rtsp":
        return source.kind in {"csi", "gstreamer"}
    if policy.rtsp_by != "auto":
        return policy.rtsp_by == "gstreamer"
    # Only the boards with NVIDIA's decoder are Arm: elsewhere nobody need wait for the look.
    return platform.machine() == "aarch64" and probe_gstreamer().decodes_in_hardware


def open_reader(source: Source, policy: LivePolicy) -> Reader:
    """Open `source`, waiting at most `policy.open_timeout_s`.

    Raises:
        InputError: it is not there, or gives nothing that can be read.
        UnavailableError: nothing on this machine can read sources of that kind.
    """
    stdin_timeout_s = policy.read_timeout_s
    openers: dict[Kind, Callable[[], Reader]] = {
        "images": lambda: ImagesReader(list_images(source.target)),
        "video": lambda: open_video(source),
        "camera": lambda: open_camera(source),
        "rtsp": lambda: open_rtsp(source, policy),
        "mjpeg": lambda: HttpMjpegReader(source, policy),
        "stdin": lambda: PipeMjpegReader(sys.stdin.fileno(), stdin_timeout_s),
        "raw": lambda: RawReader(sys.stdin.fileno(), source.raw_hw, stdin_timeout_s),
    }
    if by_gstreamer(source, policy):
        return open_gstreamer(source, policy)
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
