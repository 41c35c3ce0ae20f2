"""RTSP cameras: through FFmpeg in OpenCV, or through GStreamer."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import time
from urllib.parse import urlsplit

import cv2

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources import gstreamer
from ghost_deploy.stream.sources.capture_clock import CaptureClock
from ghost_deploy.stream.sources.gstreamer import probe_gstreamer
from ghost_deploy.stream.sources.opencv import CvReader
from ghost_deploy.stream.sources.reader import Reader, lost
from ghost_deploy.stream.sources.source_table import SourceAddress

# FFmpeg analyzes a stream for that many microseconds before it gives the first frame. The default
# took 1.4 s with a camera of 20 frames/s; half a second is enough for H.264 and H.265.
_FFMPEG_OPTIONS = "rtsp_transport;tcp|analyzeduration;500000"
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
        _reach(address, policy.open_timeout_s)
        left_s = max(0.1, deadline - time.monotonic())
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _FFMPEG_OPTIONS)
        super().__init__(
            address,
            cv2.CAP_FFMPEG,
            address.target,
            options=[
                # Frame threads hold frames back: one thread lowers the age by their number. The
                # OpenCV 4.5 of JetPack 6 has no such property.
                *((cv2.CAP_PROP_N_THREADS, 1) if hasattr(cv2, "CAP_PROP_N_THREADS") else ()),
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(left_s * 1000)),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(policy.read_timeout_s * 1000)),
            ],
            problem="the server answers but gives no video",
            fix=_FIX,
        )
        self._clock = CaptureClock()
        try:
            self._skip_backlog(policy.read_timeout_s)
        except BaseException:
            self.close()
            raise

    def grab(self) -> int:
        arrival_ns = self._grab_live()
        stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        return self._clock.captured_ns(arrival_ns, stamp_ns)

    def _grab_live(self) -> int:
        arrival_ns = super().grab()
        assert arrival_ns is not None, "a live source has no end"
        return arrival_ns

    def _skip_backlog(self, timeout_s: float) -> None:
        """Drop the frames that arrived while the source was being opened: they are old by now.

        They come faster than their own time stamps say that they were captured; the first that
        does not is the newest. A stream without usable time stamps is left as it is.
        """
        end = time.monotonic() + timeout_s
        before: tuple[float, float] | None = None
        while time.monotonic() < end:
            arrival_s = self._grab_live() / 1e9
            stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            # OpenCV gives 0 for the first two frames of a stream.
            if before is not None and before[1] > 0:
                step = stamp_s - before[1]
                if step <= 0 or arrival_s - before[0] >= step / 2:
                    return
            before = arrival_s, stamp_s


def _reach(address: SourceAddress, timeout_s: float) -> None:
    """Raise with the network's own reason if the server cannot be reached: FFmpeg gives none."""
    try:
        parts = urlsplit(address.target)
        server = (parts.hostname or "", parts.port or (322 if parts.scheme == "rtsps" else 554))
    except ValueError:
        # Not chained: the message may repeat a part of the password.
        raise lost(address.label, "no valid address", "Check the address") from None
    try:
        with contextlib.closing(socket.create_connection(server, timeout_s)):
            pass
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "the server does not answer"
        raise lost(address.label, str(why)) from error
