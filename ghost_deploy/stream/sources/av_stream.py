"""Live streams of the network that PyAV reads."""

from __future__ import annotations

import functools
import importlib.util
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.core.pixel_limit import check_pixels
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.av_frames import (
    decode,
    demux,
    open_container,
    open_decoder,
    reason_of,
    to_bgr,
    video_of,
)
from ghost_deploy.stream.sources.capture_clock import CaptureClock
from ghost_deploy.stream.sources.reader import Loader, Reader, lost

if TYPE_CHECKING:
    import av

_LATE_S = 1.0
_SHARE_OF_TIMEOUT = 0.5


def require_pyav() -> None:
    """Check that PyAV is installed.

    Raises:
        MissingExtraError: it is not.
    """
    if importlib.util.find_spec("av") is None:
        raise MissingExtraError.for_extra("av", "stream")


def timeouts(policy: LivePolicy) -> tuple[float, float]:
    """Longest wait to open a stream and for a packet of it, seconds."""
    return policy.open_timeout_s, policy.read_timeout_s


class AvStreamReader(Reader):
    """The frames of a live stream as they come; one that does not decode is broken.

    Args:
        container: an open one; it is closed at the end.
        label: of the source.
        policy: with the timeouts.
        paced: frames come in bursts, as those of HLS: they are passed on at the distance of their
            times instead.
    """

    is_live = True

    def __init__(
        self,
        container: av.container.InputContainer,
        label: str,
        policy: LivePolicy,
        *,
        paced: bool = False,
    ) -> None:
        self._container, self._label = container, label
        self._stream = video_of(container, label)
        check_pixels(self._stream.width, self._stream.height, f"the video of {label}")
        self._clock = CaptureClock()
        self._pace = Pace(_SHARE_OF_TIMEOUT * policy.read_timeout_s) if paced else None
        self._frame: av.VideoFrame | None = None
        self._frames = self._receive()

    def grab(self) -> int:
        import av

        try:
            self._frame = next(self._frames)
        except StopIteration:
            raise lost(self._label, "the server ended the stream") from None
        # Not chained: FFmpeg's messages repeat the address.
        except av.FFmpegError as error:
            raise lost(self._label, reason_of(error)) from None
        frame = self._frame
        self.is_broken = frame is None or frame.is_corrupt
        now_ns = time.monotonic_ns()
        if frame is None or frame.pts is None or frame.time_base is None:
            return now_ns
        stamp_s = float(frame.pts * frame.time_base)
        if self._pace:
            time.sleep(self._pace.wait_s(stamp_s, now_ns / 1e9))
            return time.monotonic_ns()
        return self._clock.captured_ns(now_ns, round(stamp_s * 1e9))

    def load(self) -> Loader:
        assert self._frame is not None, "it is broken"
        return functools.partial(to_bgr, self._frame)

    def close(self) -> None:
        self._frames.close()
        self._container.close()

    def _receive(self) -> Generator[av.VideoFrame | None, None, None]:
        # Frame threads would hold frames back.
        decoder = open_decoder(self._stream, frame_threads=False)
        for packet in demux(self._container, self._stream):
            yield from decode(decoder, packet)


class Pace:
    """When frames that come in bursts are due.

    Args:
        most_s: longest wait, seconds.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._offset_s: float | None = None  # of the stream's times to the monotonic clock

    def wait_s(self, stamp_s: float, now_s: float) -> float:
        """How long the frame of that time has to wait; the first, or after a jump, not at all."""
        due_s = None if self._offset_s is None else stamp_s + self._offset_s
        if due_s is None or now_s > due_s + _LATE_S or due_s > now_s + self._most_s:
            self._offset_s = now_s - stamp_s
            return 0.0
        return max(0.0, due_s - now_s)


def open_stream(
    label: str, url: str, policy: LivePolicy, options: dict[str, str] | None = None
) -> av.container.InputContainer:
    """Open a stream with the timeouts of `policy`.

    Raises:
        InputError: it does not answer, or gives nothing that can be read.
        MissingExtraError: PyAV is not installed.
    """
    require_pyav()
    return open_container(label, url, options=options, timeout_s=timeouts(policy))
