"""Sources that OpenCV reads: video files, RTSP through FFmpeg, cameras."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.capture_clock import StampClock
from ghost_deploy.stream.sources.reader import Loader, lost
from ghost_deploy.stream.sources.uri import Source

__all__ = ["CvReader", "open_camera", "open_rtsp", "open_video"]

_FFMPEG_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# FFmpeg looks at a stream for that many microseconds before it gives the first frame. By default
# that took 1.4 s of a camera with 20 frames a second; half a second is enough for H.264 and H.265.
_RTSP_OPTIONS = "rtsp_transport;tcp|analyzeduration;500000"
_FFMPEG_LOG = "OPENCV_FFMPEG_LOGLEVEL"
_vendor_setup = threading.Lock()


def open_video(source: Source) -> CvReader:
    """A video file, every frame of it.

    Raises:
        InputError: it holds no video that FFmpeg can read.
    """
    return CvReader(source, cv2.CAP_FFMPEG, source.target, [])


def open_rtsp(source: Source, policy: LivePolicy) -> CvReader:
    """An RTSP stream over TCP, with the timeouts of `policy`.

    Raises:
        InputError: the server cannot be reached, or gives no video.
    """
    deadline = time.monotonic() + policy.open_timeout_s
    _reach(source, policy.open_timeout_s)
    left_s = max(0.1, deadline - time.monotonic())
    options = [
        # Frame threads hold frames back: one thread lowers the age by their number. The OpenCV
        # 4.5 of JetPack 6 has no such property.
        *((cv2.CAP_PROP_N_THREADS, 1) if hasattr(cv2, "CAP_PROP_N_THREADS") else ()),
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(left_s * 1000)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(policy.read_timeout_s * 1000)),
    ]
    with _vendor_setup:
        os.environ.setdefault(_FFMPEG_OPTIONS, _RTSP_OPTIONS)
    reader = CvReader(source, cv2.CAP_FFMPEG, source.target, options)
    try:
        reader.skip_backlog(policy.read_timeout_s)
    except BaseException:
        reader.close()
        raise
    return reader


def open_camera(source: Source) -> CvReader:
    """A camera by its number or device file.

    Raises:
        InputError: it is not there, or used by somebody else.
    """
    number = source.target if source.target.isdecimal() else ""
    device = f"/dev/video{number}" if number else source.target
    if sys.platform == "linux" and not Path(device).exists():
        raise lost(source.label, f"there is no {device}", _HINTS["camera"])
    backend = cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY
    return CvReader(source, backend, int(number) if number else device, [])


class CvReader:
    """A source that OpenCV reads.

    Args:
        source: what is read, for messages.
        backend: OpenCV's `CAP_` constant.
        target: what to open.
        options: OpenCV's list of properties and values for opening.

    Raises:
        InputError: it cannot be opened.
    """

    def __init__(self, source: Source, backend: int, target: str | int, options: list[int]) -> None:
        self._source = source
        _quiet_vendors()
        try:
            self._capture: Any = cv2.VideoCapture(target, backend, options)
        except cv2.error:
            # Not chained: OpenCV's message repeats the address with its password.
            raise lost(source.label, "OpenCV refuses it") from None
        if not self._capture.isOpened():
            self._capture.release()
            raise lost(source.label, _why_not_opened(source), _HINTS.get(source.kind, "Check it"))
        self._clock = StampClock() if source.kind == "rtsp" else None
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = None if source.is_live or rate <= 0 else float(rate)

    def grab(self) -> int | None:
        if not self._source.is_live:
            return self._grab()
        arrival_ns = self._grab_or_raise()
        if self._clock is None:
            return arrival_ns
        stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        return self._clock.captured_ns(arrival_ns, stamp_ns)

    def _grab(self) -> int | None:
        return time.monotonic_ns() if self._capture.grab() else None

    def _grab_or_raise(self) -> int:
        t_ns = self._grab()
        if t_ns is None:
            raise lost(self._source.label, "no more frames came")
        return t_ns

    def skip_backlog(self, timeout_s: float) -> None:
        """Pass over the frames that came while the source was opened: they are old by now.

        They come faster than they were made, by their own time stamps; the first that does not
        is the newest. A stream without usable time stamps is left as it is.

        Raises:
            InputError: the source is lost.
        """
        end = time.monotonic() + timeout_s
        before: tuple[float, float] | None = None
        while time.monotonic() < end:
            arrival_s = self._grab_or_raise() / 1e9
            stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            # OpenCV gives 0 for the first two frames of a stream.
            if before is not None and before[1] > 0:
                step = stamp_s - before[1]
                if step <= 0 or arrival_s - before[0] >= step / 2:
                    return
            before = arrival_s, stamp_s

    def load(self) -> Loader:
        done, image = self._capture.retrieve()
        if not done or image is None:
            return _not_decodable
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
        return lambda: image

    def close(self) -> None:
        self._capture.release()


_HINTS = {
    "rtsp": "Check path, user and password of the camera; it is tried again by itself",
    "video": "Check the file: ffprobe says what it holds",
    "camera": "Check that it is connected and used by nobody else; it is tried again by itself",
}


def _not_decodable() -> NDArray[np.uint8]:
    raise ImageError("a frame of the stream does not decode", fix="It is left out")


def _why_not_opened(source: Source) -> str:
    if source.kind == "rtsp":
        return "the server is there but gives no video"
    if source.kind == "camera" and source.target.startswith("/") and not _readable(source.target):
        return "no permission to read the device"
    return (
        "it holds no video that OpenCV can read" if source.kind == "video" else "it does not open"
    )


def _readable(path: str) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _reach(source: Source, timeout_s: float) -> None:
    """Raise with the network's own reason if the server cannot be reached: FFmpeg tells none."""
    try:
        parts = urlsplit(source.target)
        address = (parts.hostname or "", parts.port or (322 if parts.scheme == "rtsps" else 554))
    except ValueError:
        # Not chained: the message may repeat a part of the password.
        raise lost(source.label, "no valid address", "Check the address") from None
    try:
        with contextlib.closing(socket.create_connection(address, timeout_s)):
            pass
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "the server does not answer"
        raise lost(source.label, str(why)) from error


def _quiet_vendors() -> None:
    """Settings that OpenCV takes from the environment; what the user set stays.

    OpenCV and FFmpeg print addresses with their passwords, so both are told to be silent.
    """
    with _vendor_setup:
        os.environ.setdefault(_FFMPEG_LOG, "-8")  # AV_LOG_QUIET
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
