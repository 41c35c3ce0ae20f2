"""Videos read by PyAV: every frame in order, with its time; what does not decode is counted."""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Generator, Iterator
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
from ghost_deploy.stream.sources.shown_packets import is_counted, is_frame
from ghost_deploy.stream.sources.source_table import SourceAddress

if TYPE_CHECKING:
    import av

_Shown: TypeAlias = "tuple[Came, av.VideoFrame | None]"


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
        self.duration_s = _duration_s(self._container, self._stream)
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
            target = None if self._timeout_s else self._target
            self.missing = missing_frames(self._container, self._stream, self._found, target)
            return None
        came, self._frame = shown
        self._continue(came.time)
        self._found.shown(came.time)
        self.is_broken = came.is_broken
        rate = self._stream.average_rate
        if came.time is not None:
            self.position_s = float((came.time - self._begin) * self._base)
        else:
            self.position_s = float(self._index / rate) if rate else None
        self._index += 1
        return time.monotonic_ns()

    def _continue(self, time: int | None) -> None:
        """Positions go on where times begin again, as in recordings that were joined."""
        latest, has_parts = self._found.latest, self._found.part > 0
        if has_parts and time is not None and latest is not None and time < latest:
            self._begin += time - latest - self._found.step

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
        ledger, counted = FrameLedger(by_time=by_time), is_counted(decoder.name)
        for packet in itertools.chain(self._demux(), [None]):
            if packet is not None and self._note(packet) and counted:
                at = packet.pts if packet.pts is not None else packet.dts
                ledger.sent(at, self._found.part)
            for frame in decode(decoder, packet):
                if frame is None:
                    yield from ((came, None) for came in ledger.failed())
                    continue
                if frame.interlaced_frame and counted:
                    # Fields may be packets of their own: only errors are counted.
                    ledger, counted = FrameLedger(by_time=by_time), False
                yield from ((came, frame) for came in ledger.came(frame.pts))
        if by_time and self._found.is_before_end:
            for frame in self._decode_last():
                yield from ((came, frame) for came in ledger.came(frame.pts))
            if not counted and self._found.is_before_end:
                yield from self._last_lost()
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
        self._found.read(at, packet.dts, packet.duration or 0, is_behind_hole=packet.is_corrupt)
        name = self._stream.codec_context.name
        return not packet.is_discard and is_frame(name, memoryview(packet))

    def _has_presentation_times(self) -> bool:
        if self._stream.start_time is None:  # a bare stream, without a container
            return False
        in_avi = "avi" in self._container.format.name
        return not (in_avi and self._stream.codec_context.has_b_frames)

    def _last_lost(self) -> Iterator[_Shown]:
        """The last packet, if it is a whole frame behind the last one that came."""
        newest, last, step = self._found.newest, self._found.latest, self._found.step
        if newest is not None and last is not None and 0 < step <= newest - last:
            yield Came(newest, True), None

    def _decode_last(self) -> Iterator[av.VideoFrame]:
        """The frames behind the last one that came, which an error among them may have hidden."""
        if self._timeout_s is not None or self._found.part:  # times are not unique
            return
        after = self._found.latest
        for seeks in (True, False):  # a file without an index may be over where it was sought
            is_over = True
            for frame in self._decode_from(after if seeks else None):
                is_over = False
                if frame.pts is not None and (after is None or frame.pts > after):
                    yield frame
            if not is_over:
                return

    def _decode_from(self, time: int | None) -> Iterator[av.VideoFrame]:
        """The frames from the key frame before that time on, without threads for frames."""
        import av

        with contextlib.suppress(av.FFmpegError), av.open(self._target) as container:
            stream = container.streams.video[self._container.streams.video.index(self._stream)]
            if time is not None:
                container.seek(time, stream=stream)
            decoder = open_decoder(stream, frame_threads=False)
            for packet in itertools.chain(container.demux(stream), [None]):
                found = decode(decoder, packet) if packet is None or packet.size else []
                yield from (frame for frame in found if frame)


def _duration_s(container: av.container.InputContainer, stream: av.VideoStream) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None
