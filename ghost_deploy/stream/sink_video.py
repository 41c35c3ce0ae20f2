"""Annotated video that stays readable whatever ends the process."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.errors import InputError, MissingExtraError
from ghost_deploy.frame import Frame
from ghost_deploy.stream.record import Annotator, Picture, file_stem
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks import cannot_write

if TYPE_CHECKING:
    import av

__all__ = ["VideoSink"]

# An MP4 in fragments: each is complete once written, so that a killed process loses what came
# after the last key frame and no more. `skip_trailer` keeps no table of the fragments, which
# would grow over weeks.
_MOVFLAGS = "frag_keyframe+empty_moov+default_base_moof+skip_trailer"
_KEY_FRAME_EVERY_S = 1
# The usual clock of MPEG streams: a whole number of ticks for 24, 25, 30, 50 and 60 frames/s.
_TICKS = 90_000
# Code points of ITU-T H.273: the matrix of BT.601 in limited range, which OpenCV converts to,
# and the primaries and transfer of BT.709, which are about those of sRGB.
_BT601, _BT709, _LIMITED = 6, 1, 1


class VideoSink:
    """One MP4 (H.264) a source, `<source>.mp4`, in real time: a pause stays a pause.

    A change of resolution starts the next file, `<source>-2.mp4`, as does a file that is there
    already: none is ever replaced. After SIGKILL all but the last second can be played.

    Args:
        folder: made if it is not there.
        picture: gives the annotated picture.
        rate_of: frames per second of a source that is a file, by its id: its frames then stand
            at `index` / rate. None for a live source: they stand at their time of capture.

    Raises:
        MissingExtraError: PyAV is not installed.
        InputError: the folder or a file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        picture: Picture | None = None,
        *,
        rate_of: Callable[[str], float | None] = lambda _: None,
    ) -> None:
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise MissingExtraError.for_extra("av", "stream") from error
        self._folder = folder
        self._picture = picture or Annotator()
        self._rate_of = rate_of
        self._open: dict[str, _Recording] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(str(folder), error) from error

    def write(self, result: Result) -> None:
        """Append the annotated picture of one result to the video of its source."""
        size_hw = result.frame.size_hw
        recording = self._open.get(result.source)
        if recording is None or recording.size_hw != size_hw:
            if recording is not None:
                recording.close()
            rate = self._rate_of(result.source)
            recording = _Recording(_free_path(self._folder, result.source), size_hw, rate)
            self._open[result.source] = recording
        recording.add(result.frame, self._picture(result))

    def close(self) -> None:
        """End every file; the others are ended even if one fails.

        Raises:
            InputError: a file could not be ended, the first of them.
        """
        failures = []
        for recording in self._open.values():
            try:
                recording.close()
            except InputError as error:
                failures.append(error)
        self._open.clear()
        if failures:
            raise failures[0]


class _Recording:
    """One file of one resolution."""

    def __init__(self, path: Path, size_hw: tuple[int, int], rate: float | None) -> None:
        import av

        self.size_hw = size_hw
        self._path = path
        self._rate = rate
        self._first: Frame | None = None
        self._last_tick = -1
        self._next_key_tick = 0
        try:
            self._container = av.open(
                str(path), "w", format="mp4", options={"movflags": _MOVFLAGS, "flush_packets": "1"}
            )
            self._stream = _add_h264(self._container, size_hw)
        except av.FFmpegError as error:
            raise cannot_write(str(path), error) from error

    def add(self, frame: Frame, picture: NDArray[np.uint8]) -> None:
        """Append a picture at the time of `frame`."""
        import av

        # OpenCV converts several times faster than PyAV.
        planes = cv2.cvtColor(_even(picture), cv2.COLOR_BGR2YUV_I420)
        video_frame = av.VideoFrame.from_ndarray(np.asarray(planes, np.uint8), format="yuv420p")
        tick = max(self._tick(frame), self._last_tick + 1)
        video_frame.pts, video_frame.time_base = tick, Fraction(1, _TICKS)
        if tick >= self._next_key_tick:
            video_frame.pict_type = av.video.frame.PictureType.I
            self._next_key_tick = tick + _KEY_FRAME_EVERY_S * _TICKS
        self._last_tick = tick
        self._mux(video_frame)

    def close(self) -> None:
        """Write what the encoder still holds and close the file."""
        import av

        try:
            self._mux(None)
        finally:
            try:
                self._container.close()
            except av.FFmpegError as error:
                raise cannot_write(str(self._path), error) from error

    def _tick(self, frame: Frame) -> int:
        first = self._first = self._first or frame
        if self._rate:
            return round((frame.index - first.index) * _TICKS / self._rate)
        return (frame.t_capture_ns - first.t_capture_ns) * _TICKS // 1_000_000_000

    def _mux(self, video_frame: av.VideoFrame | None) -> None:
        import av

        try:
            self._container.mux(self._stream.encode(video_frame))
        except av.FFmpegError as error:
            raise cannot_write(str(self._path), error) from error


def _add_h264(container: av.container.OutputContainer, size_hw: tuple[int, int]) -> av.VideoStream:
    """An encoder that hands out each frame at once and takes little of the processor."""
    # The rate only guides the encoder's choice of a level; the frames carry their own times.
    stream = container.add_stream(
        "libx264", rate=30, options={"preset": "ultrafast", "tune": "zerolatency", "crf": "23"}
    )
    stream.height, stream.width = (side + side % 2 for side in size_hw)
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    context.time_base = Fraction(1, _TICKS)
    # Key frames are asked for by time; the rate of a live source is not known.
    context.gop_size = 10_000
    context.colorspace, context.color_range = _BT601, _LIMITED
    context.color_primaries = context.color_trc = _BT709
    return stream


def _even(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture with an odd side repeated: 4:2:0 video has even sides only."""
    bottom, right = picture.shape[0] % 2, picture.shape[1] % 2
    if not (bottom or right):
        return picture
    padded: NDArray[np.uint8] = cv2.copyMakeBorder(  # type: ignore[assignment]
        picture, 0, bottom, 0, right, cv2.BORDER_REPLICATE
    )
    return padded


def _free_path(folder: Path, source: str) -> Path:
    stem = file_stem(source)
    names = itertools.chain([f"{stem}.mp4"], (f"{stem}-{n}.mp4" for n in itertools.count(2)))
    return next(path for path in map(folder.joinpath, names) if not path.exists())
