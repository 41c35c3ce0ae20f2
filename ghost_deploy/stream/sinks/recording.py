"""One MP4 file of annotated video that stays playable when the process is killed."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import InputError
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.sinks.sink import cannot_write

if TYPE_CHECKING:
    import av

# An MP4 in fragments: each is complete once written, so that a killed process loses only what
# came after the last key frame. `skip_trailer` keeps no table of the fragments, which
# would grow over weeks.
_MOVFLAGS = "frag_keyframe+default_base_moof+skip_trailer+"
# With `empty_moov` the first frame stands at 0, wherever it was.
_FROM_FIRST, _FROM_ZERO = "empty_moov", "delay_moov"
_KEY_FRAME_EVERY_S = 1
# The usual clock of MPEG streams: a whole number of ticks for 24, 25, 30, 50 and 60 frames/s.
_TICKS = 90_000
_LEAST_SCALE = 1000
_MOST_TICKS, _LONGEST_TICK = 1_000_000, Fraction(1, 10)
# Code points of ITU-T H.273: the matrix of BT.601 in limited range, to which OpenCV converts, and
# the primaries and transfer of BT.709, which are close to those of sRGB.
_BT601, _BT709, _LIMITED = 6, 1, 1


class Recording:
    """One file of one resolution, from its first frame on.

    `size` is the length of the file, bytes, updated with each key frame, and `held` the number of
    frames that are not in it yet: a fragment is written when the next one begins. The times of
    frames keep the unit `base`, seconds, where there is one.
    """

    def __init__(
        self, path: Path, first: Frame, base: Fraction | None, *, begins_at_zero: bool
    ) -> None:
        import av

        self.path = path
        self.size_hw = first.size_hw
        self.began_ns = first.t_capture_ns
        self._began_s = 0.0 if begins_at_zero else first.position_s or 0.0
        usable = base is not None and 0 < base <= _LONGEST_TICK and base.denominator <= _MOST_TICKS
        self._base = base if base is not None and usable else Fraction(1, _TICKS)
        self._last_tick = -1
        self._next_key_tick = 0
        self.size = 0
        self.held = 0
        try:
            self._container = av.open(
                str(path), "w", format="mp4", options=_mp4_options(first, self._base)
            )
            self._stream = _add_h264(self._container, self.size_hw, self._base)
        except av.FFmpegError as error:
            raise cannot_write(str(path), error) from error

    def add(self, frame: Frame, image: NDArray[np.uint8]) -> None:
        """Append an image at the time of `frame`."""
        import av

        # OpenCV converts several times faster than PyAV.
        planes = cv2.cvtColor(_even(image), cv2.COLOR_BGR2YUV_I420)
        video_frame = av.VideoFrame.from_ndarray(np.asarray(planes, np.uint8), format="yuv420p")
        tick = max(self._tick(frame), self._last_tick + 1)
        video_frame.pts, video_frame.time_base = tick, self._base
        begins_fragment = tick >= self._next_key_tick
        if begins_fragment:
            video_frame.pict_type = av.video.frame.PictureType.I
            self._next_key_tick = tick + round(_KEY_FRAME_EVERY_S / self._base)
            if self._last_tick >= 0:  # the first frame makes the file
                self.size = self._size_on_disk()
        self._last_tick = tick
        self._mux(video_frame)
        self.held = 1 if begins_fragment else self.held + 1

    def close(self) -> None:
        """Write what the encoder still holds and close the file."""
        import av

        try:
            self._mux(None)
        finally:
            try:
                self._container.close()
            except av.FFmpegError as error:
                raise cannot_write(str(self.path), error) from error
        self.held = 0

    def _size_on_disk(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError as error:  # the file was removed by others: another must be begun
            raise cannot_write(str(self.path), error) from error

    def abandon(self) -> None:
        """Close the file after a failure, and remove it if nothing in it can be played."""
        with contextlib.suppress(InputError):
            self.close()
        with contextlib.suppress(OSError):
            if self._last_tick <= 0:
                self.path.unlink()

    def _tick(self, frame: Frame) -> int:
        if frame.position_s is not None:
            return round((frame.position_s - self._began_s) / self._base)
        return int((frame.t_capture_ns - self.began_ns) / self._base) // 1_000_000_000

    def _mux(self, video_frame: av.VideoFrame | None) -> None:
        import av

        try:
            self._container.mux(self._stream.encode(video_frame))
        except av.FFmpegError as error:
            raise cannot_write(str(self.path), error) from error


def _mp4_options(first: Frame, base: Fraction) -> dict[str, str]:
    options = {"movflags": _MOVFLAGS + _FROM_FIRST, "flush_packets": "1"}
    if first.position_s is not None:
        # Where the first frame stands is written in the unit of the whole file.
        scale = base.denominator * -(-_LEAST_SCALE // base.denominator)
        options |= {"movflags": _MOVFLAGS + _FROM_ZERO, "movie_timescale": str(scale)}
    return options


def _add_h264(
    container: av.container.OutputContainer, size_hw: tuple[int, int], base: Fraction
) -> av.VideoStream:
    """Add an encoder without delay and of low CPU load."""
    # The rate only guides the encoder's choice of a level; the frames carry their own times.
    stream = container.add_stream(
        "libx264", rate=30, options={"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
    )
    stream.height, stream.width = (side + side % 2 for side in size_hw)
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = base
    # Key frames are requested by time; the rate of a live source is unknown.
    context.gop_size = 10_000
    context.colorspace, context.color_range = _BT601, _LIMITED
    context.color_primaries = context.color_trc = _BT709
    return stream


def _even(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with an odd side repeated: 4:2:0 video has even sides only."""
    bottom, right = image.shape[0] % 2, image.shape[1] % 2
    if not (bottom or right):
        return image
    padded: NDArray[np.uint8] = cv2.copyMakeBorder(  # type: ignore[assignment]
        image, 0, bottom, 0, right, cv2.BORDER_REPLICATE
    )
    return padded
