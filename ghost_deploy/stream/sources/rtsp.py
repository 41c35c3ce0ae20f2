"""RTSP cameras: through FFmpeg in OpenCV, or through GStreamer."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import time

import cv2

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources import gstreamer
from ghost_deploy.stream.sources.camera_address import CameraAddress, split_address
from ghost_deploy.stream.sources.capture_clock import CaptureClock
from ghost_deploy.stream.sources.gstreamer import probe_gstreamer
from ghost_deploy.stream.sources.opencv import CvReader
from ghost_deploy.stream.sources.reader import Reader, lost
from ghost_deploy.stream.sources.rtsp_probe import server_of, why_no_video
from ghost_deploy.stream.sources.source_table import SourceAddress

# FFmpeg analyzes a stream for that many microseconds before it gives the first frame. The default
# took 1.4 s with a camera of 20 frames/s; half a second is enough for H.264 and H.265.
_FFMPEG_OPTIONS = "rtsp_transport;tcp|analyzeduration;500000"
# So many failures take less time only if the connection is closed.
_MOST_IN_A_ROW, _AT_ONCE_S, _LONG_S = 20, 0.1, 0.5
_SHARE_OF_TIMEOUT = 0.9
_NO_VIDEO = "the server answers but gives no video"
_FIX = "Check path, user and password of the camera; it is tried again automatically"


def uses_gstreamer(policy: LivePolicy) -> bool:
    """Whether GStreamer reads RTSP, and not FFmpeg in OpenCV."""
    if policy.rtsp_by != "auto":
        return policy.rtsp_by == "gstreamer"
    # Only the boards with NVIDIA's decoder are Arm: elsewhere the probe would waste time.
    return platform.machine() == "aarch64" and probe_gstreamer().decodes_in_hardware


def open_reader(address: SourceAddress, policy: LivePolicy) -> Reader:
    """See `SourceModule`."""
    if uses_gstreamer(policy):
        return gstreamer.open_reader(address, policy)
    return RtspReader(address, policy)


def read_by(address: SourceAddress, policy: LivePolicy) -> str:
    """See `SourceModule`."""
    if uses_gstreamer(policy):
        return gstreamer.read_by(address, policy)
    version = probe_gstreamer().version if policy.rtsp_by == "auto" else ""
    return f"FFmpeg in OpenCV{version and f'; GStreamer {version} with --rtsp-by gstreamer'}"


class RtspReader(CvReader):
    """An RTSP stream over TCP through FFmpeg, with the timeouts of `policy`.

    Raises:
        InputError: the server cannot be reached, or gives no video.
    """

    def __init__(self, address: SourceAddress, policy: LivePolicy) -> None:
        deadline = time.monotonic() + policy.open_timeout_s
        camera = split_address(address.target)
        _reach(camera, address.label, policy.open_timeout_s)
        left_s = max(0.1, deadline - time.monotonic())
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _FFMPEG_OPTIONS)
        super().__init__(
            address,
            cv2.CAP_FFMPEG,
            camera.url,
            options=[
                # Frame threads hold frames back: one thread lowers the age by their number. The
                # OpenCV 4.5 of JetPack 6 has no such property.
                *((cv2.CAP_PROP_N_THREADS, 1) if hasattr(cv2, "CAP_PROP_N_THREADS") else ()),
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(left_s * 1000)),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(policy.read_timeout_s * 1000)),
            ],
            problem=lambda: why_no_video(camera, left_s) or _NO_VIDEO,
            fix=_FIX,
        )
        self._clock = CaptureClock()
        self._timeout_s = policy.read_timeout_s
        self._broken_before = 0  # frames before the grabbed one that did not decode
        self._arrival_ns: int | None = None
        try:
            self._skip_backlog(policy.read_timeout_s)
        except BaseException:
            self.close()
            raise

    def grab(self) -> int:
        if self._broken_before:
            self._broken_before -= 1
        else:
            self._arrival_ns = self._receive()
        self.is_broken = self._broken_before > 0 or self._arrival_ns is None
        if self._arrival_ns is None or self.is_broken:
            return time.monotonic_ns()
        stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        return self._clock.captured_ns(self._arrival_ns, stamp_ns)

    def _receive(self) -> int | None:
        """When the next frame arrived, nanoseconds; None for one that does not decode.

        OpenCV tells a frame that does not decode and a closed connection alike, but the latter
        again and again at once. The broken frames before the returned one are `_broken_before`.
        """
        began_s = time.monotonic()
        for count in range(_MOST_IN_A_ROW):
            asked_s = time.monotonic()
            if self._capture.grab():
                self._broken_before = count
                return time.monotonic_ns()
            now_s = time.monotonic()
            if now_s - asked_s >= _SHARE_OF_TIMEOUT * self._timeout_s:
                break
            if now_s - began_s >= (_LONG_S if count < _MOST_IN_A_ROW - 1 else _AT_ONCE_S):
                self._broken_before = count
                return None
        raise lost(self._label, "no more frames came")

    def _skip_backlog(self, timeout_s: float) -> None:
        """Drop the frames that arrived while the source was being opened: they are old by now.

        They come faster than their own time stamps say that they were captured; the first that
        does not is the newest. A stream without usable time stamps is left as it is.
        """
        end = time.monotonic() + timeout_s
        before: tuple[float, float] | None = None
        while time.monotonic() < end:
            arrival_ns = self._receive()
            self._broken_before = 0
            if arrival_ns is None:
                continue
            arrival_s = arrival_ns / 1e9
            stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            # OpenCV gives 0 for the first two frames of a stream.
            if before is not None and before[1] > 0:
                step = stamp_s - before[1]
                if step <= 0 or arrival_s - before[0] >= step / 2:
                    return
            before = arrival_s, stamp_s


def _reach(camera: CameraAddress, label: str, timeout_s: float) -> None:
    """Raise with the network's own reason if the server cannot be reached: FFmpeg gives none."""
    try:
        with contextlib.closing(socket.create_connection(server_of(camera), timeout_s)):
            pass
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "the server does not answer"
        raise lost(label, str(why)) from error
