"""Videos read by PyAV: every frame in order, with its time; what does not decode is counted."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Collection, Generator, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from ghost_deploy.core.pixel_limit import check_pixels
from ghost_deploy.stream.sources.announced_frames import FrameTimes, missing_frames
from ghost_deploy.stream.sources.av_frames import (
    decode,
    demux,
    open_container,
    open_decoder,
    reason_of,
    to_bgr,
    video_of,
)
from ghost_deploy.stream.sources.frame_ledger import Came, FrameLedger
from ghost_deploy.stream.sources.reader import Loader, Reader, lost
from ghost_deploy.stream.sources.source_table import SourceAddress

if TYPE_CHECKING:
    import av

_Shown: TypeAlias = "tuple[Came, av.VideoFrame | None]"

_ONE_TO_ONE = frozenset({"av1", "h264", "hevc", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4"})
"""Codecs of which each packet is a frame; of VP8 and VP9 some packets are never shown."""

_PLACEHOLDER_BYTES = 20
"""In MPEG-4 a packet of that size may stand for a frame that the one before it held."""


class AvVideoReader(Reader):
    """A video that PyAV reads. A frame that does not decode comes in its place, as broken.

    Args:
        address: of the source.
        target: what to open, a path or an address.
        timeout_s: longest wait to open it and for each packet, seconds; without limit for files.
        container: `target`, if it is open already.

    Raises:
        InputError: it cannot be opened, or holds no video.
    """

    is_live = False

    def __init__(
        self,
        address: SourceAddress,
        target: str,
        timeout_s: tuple[float, float] | None = None,
        *,
        container: av.container.InputContainer | None = None,
    ) -> None:
        self._label, self._target, self._timeout_s = address.label, target, timeout_s
        self._container = container or open_container(address.label, target, timeout_s=timeout_s)
        self._stream = video_of(self._container, address.label)
        check_pixels(self._stream.width, self._stream.height, f"the video {address.label}")
        self._base = self.time_base = self._stream.time_base or Fraction(1, 90_000)
        # Of MPEG streams the first time is arbitrary; elsewhere 0 is the beginning.
        name = self._container.format.name
        is_mpeg = "mpeg" in name or "hls" in name
        self._begin = self._stream.start_time or 0 if is_mpeg else 0
        self._found = FrameTimes()
        self._index = 0
        self._frame: av.VideoFrame | None = None
        self._shown = self._show()

    def grab(self) -> int | None:
        shown = next(self._shown, None)
        if shown is None:
            self.missing = missing_frames(self._container, self._stream, self._found)
            return None
        came, self._frame = shown
        self._found.shown(came.time)
        self.is_broken = came.is_broken
        rate = self._stream.average_rate
        if came.time is not None:
            self.position_s = float((came.time - self._begin) * self._base)
        else:
            self.position_s = float(self._index / rate) if rate else None
        self._index += 1
        return time.monotonic_ns()

    def load(self) -> Loader:
        assert self._frame is not None, "it is broken"
        return functools.partial(to_bgr, self._frame)

    def close(self) -> None:
        self._shown.close()
        self._container.close()

    def _show(self) -> Generator[_Shown, None, None]:
        """The frames in their order; None in place of one that is broken."""
        by_time = self._has_presentation_times()
        decoder = open_decoder(self._stream, frame_threads=by_time)
        ledger, counted = FrameLedger(by_time=by_time), decoder.name in _ONE_TO_ONE
        for packet in itertools.chain(self._demux(), [None]):
            if packet is not None and self._note(packet) and counted:
                ledger.sent(packet.pts if packet.pts is not None else packet.dts)
            for frame in decode(decoder, packet):
                if frame is None:
                    yield from ((came, None) for came in ledger.failed())
                    continue
                if frame.interlaced_frame and counted:
                    # Fields may be packets of their own: only errors are counted.
                    ledger, counted = FrameLedger(by_time=by_time), False
                yield from ((came, frame) for came in ledger.came(frame.pts))
        if by_time:
            for frame in self._decode_again(ledger.outstanding):
                yield from ((came, frame) for came in ledger.came(frame.pts))
        yield from ((came, None) for came in ledger.ended())

    def _demux(self) -> Iterator[av.Packet[Any]]:
        import av

        try:
            yield from demux(self._container, self._stream)
        except av.FFmpegError as error:
            # What is left of a file is counted as missing.
            if self._timeout_s is not None:
                raise lost(self._label, reason_of(error)) from None

    def _note(self, packet: av.Packet[Any]) -> bool:
        """Whether the packet is a frame that is to be shown."""
        at = packet.pts if packet.pts is not None else packet.dts
        self._found.read(at, packet.duration or 0)
        is_placeholder = packet.size <= _PLACEHOLDER_BYTES and self._stream.name == "mpeg4"
        return not (packet.is_discard or is_placeholder)

    def _has_presentation_times(self) -> bool:
        if self._stream.start_time is None:  # a bare stream, without a container
            return False
        in_avi = "avi" in self._container.format.name
        return not (in_avi and self._stream.codec_context.has_b_frames)

    def _decode_again(self, times: Collection[int]) -> Iterator[av.VideoFrame]:
        """The frames of those times: the last ones, which an error among them may have hidden."""
        import av

        if not times or self._timeout_s is not None:
            return
        with contextlib.suppress(av.FFmpegError), av.open(self._target) as container:
            stream = container.streams.video[self._container.streams.video.index(self._stream)]
            container.seek(min(times), stream=stream)
            decoder = open_decoder(stream, frame_threads=False)
            for packet in itertools.chain(container.demux(stream), [None]):
                found = decode(decoder, packet) if packet is None or packet.size else []
                yield from (frame for frame in found if frame and frame.pts in times)
