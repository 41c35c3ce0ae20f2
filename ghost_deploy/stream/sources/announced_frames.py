"""How many frames a container announces that it does not hold."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ghost_deploy.stream.sources.av_frames import demux_all

if TYPE_CHECKING:
    import av

_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_GAP, _FEW, _FEW_SHARE = 1.5, 3, 0.01
_LEAST = 2
"""Of frames known by time only: durations are rounded."""
_PAUSE_S = 10
"""A longer gap between frames is a pause, or the next of several recordings."""
_SOUND_S = 0.5
"""The sound may end that long before the duration of the whole."""


@dataclass
class FrameTimes:
    """The packets and frames of a video that came, in units of its time base.

    Attributes:
        packets: that were read.
        end: of the last of them; None if unknown.
        newest: time of the latest packet of this part; None if unknown.
        part: of the file; a next one begins where decoding times begin again.
        last: time of the last frame; None if unknown.
        latest: time of the last frame of which it is known; None without any.
        steps: how often two frames had that distance.
        has_holes: whether the container tells of data that were lost before a packet.
    """

    packets: int = 0
    end: int | None = None
    newest: int | None = None
    part: int = 0
    last: int | None = None
    latest: int | None = None
    steps: Counter[int] = field(default_factory=Counter)
    has_holes: bool = False
    _decoded_at: int | None = None

    def read(
        self, start: int | None, decoded_at: int | None, duration: int, *, is_behind_hole: bool
    ) -> None:
        """A packet came.

        Args:
            start: when its frame is shown.
            decoded_at: when its frame is decoded.
            duration: of its frame.
            is_behind_hole: whether the container tells of lost data before it.
        """
        self.packets += 1
        self.has_holes |= is_behind_hole
        if decoded_at is not None:
            if self._decoded_at is not None and decoded_at < self._decoded_at:
                self.part, self.newest = self.part + 1, None
            self._decoded_at = decoded_at
        if start is not None:
            self.end = max(self.end or 0, start + duration)
            self.newest = start if self.newest is None else max(self.newest, start)

    @property
    def step(self) -> int:
        """The median distance of two frames; 0 if there are none."""
        return sorted(self.steps.elements())[self.steps.total() // 2] if self.steps else 0

    @property
    def is_before_end(self) -> bool:
        """Whether the last frame that came is not that of the latest packet."""
        return self.newest is not None and (self.latest is None or self.latest < self.newest)

    def shown(self, time: int | None) -> None:
        """A frame came, or was broken."""
        if time is not None and self.last is not None:
            self.steps[time - self.last] += 1
        self.last = time
        self.latest = self.latest if time is None else time


def missing_frames(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    found: FrameTimes,
    target: str | None = None,
) -> int:
    """How many frames fewer than announced a video has.

    MP4 and QuickTime announce the number of frames; AVI and Matroska, and FLV without sound, the
    time at which the video ends, and Matroska the distance of frames. MPEG transport streams count
    their packets: behind a hole a gap between frames is known to be a loss. Of others nothing is
    known.

    Args:
        container: it was read to its end.
        stream: the video.
        found: what came.
        target: the file, to look for the end of its sound; None if it is no file.
    """
    if "mov" in container.format.name and stream.frames:
        return max(0, stream.frames - found.packets)
    base = stream.time_base
    if base is None or not found.end:
        return 0
    pause, name = int(_PAUSE_S / base), container.format.name
    if "mpegts" in name:
        return _between(found, pause, most_gaps=found.packets) if found.has_holes else 0
    announced = _announced_end(container, stream)
    if announced is None and target and _is_cut(container, target, found.end * base):
        announced = Fraction(container.duration or 0, 1_000_000)
    if announced is None:
        return 0
    after = round((announced / base - found.end) * found.packets / found.end)
    is_regular = stream.average_rate == stream.base_rate and "matroska" in name
    few = max(_FEW, int(_FEW_SHARE * found.packets))
    between = _between(found, pause, most_gaps=few) if is_regular else 0
    return (after if after >= _LEAST else 0) + between


def _is_cut(container: av.container.InputContainer, target: str, video_end_s: Fraction) -> bool:
    """Whether neither the video nor the sound of a file lasts as long as its header says."""
    import av

    is_told = "matroska" in container.format.name or container.format.name == "flv"
    if not (is_told and container.duration):
        return False
    least_s = container.duration / 1e6 - _SOUND_S
    if video_end_s >= least_s:
        return False
    # Without an index a file may be over where it was sought, so that seeking is no way.
    with contextlib.suppress(av.FFmpegError), av.open(target) as again:
        return all(_end_s(packet) < least_s for packet in demux_all(again))
    return False


def _end_s(packet: av.Packet[Any]) -> Fraction:
    """When what a packet holds is over, seconds; 0 if it has no time."""
    if packet.pts is None:
        return Fraction(0)
    return (packet.pts + (packet.duration or 0)) * packet.time_base


def _between(found: FrameTimes, pause: int, most_gaps: int) -> int:
    """How many frames are missing between others, in a video of few gaps.

    One of many gaps has a variable rate, whatever its header says.

    Args:
        found: what came.
        pause: gaps from that on are none.
        most_gaps: more are a variable rate.
    """
    typical = found.step
    gaps = {
        step: n for step, n in found.steps.items() if typical > 0 and _GAP * typical < step < pause
    }
    if sum(gaps.values()) > most_gaps:
        return 0
    return sum((round(step / typical) - 1) * n for step, n in gaps.items())


def _announced_end(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Fraction | None:
    """When the video ends by the header, seconds."""
    name = container.format.name
    if "avi" in name and stream.frames and stream.time_base:
        return stream.frames * stream.time_base  # its frames are ticks
    if "mov" in name and stream.duration and stream.time_base:  # in fragments
        return (stream.start_time or 0) * stream.time_base + stream.duration * stream.time_base
    if "matroska" not in name and name != "flv":
        return None
    clock = _CLOCK.match(stream.metadata.get("DURATION", ""))
    if clock:
        return (int(clock[1]) * 60 + int(clock[2])) * 60 + Fraction(clock[3])
    # The duration of the whole counts the sound too.
    if len(container.streams) == 1 and container.duration:
        return Fraction(container.duration, 1_000_000)
    return None
