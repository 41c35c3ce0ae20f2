"""How many frames a container announces that it does not hold."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av

_CLOCK = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")
_GAP, _FEW, _FEW_SHARE = 1.5, 3, 0.01
_LEAST = 2
"""Of frames known by time only: durations are rounded."""


@dataclass
class FrameTimes:
    """The packets and frames of a video that came, in units of its time base.

    Attributes:
        packets: that were read.
        end: of the last of them; None if unknown.
        last: time of the last frame; None if unknown.
        steps: how often two frames had that distance.
    """

    packets: int = 0
    end: int | None = None
    last: int | None = None
    steps: Counter[int] = field(default_factory=Counter)

    def read(self, start: int | None, duration: int) -> None:
        """A packet came."""
        self.packets += 1
        if start is not None:
            self.end = max(self.end or 0, start + duration)

    def shown(self, time: int | None) -> None:
        """A frame came, or was broken."""
        if time is not None and self.last is not None:
            self.steps[time - self.last] += 1
        self.last = time


def missing_frames(
    container: av.container.InputContainer, stream: av.VideoStream, found: FrameTimes
) -> int:
    """How many frames fewer than announced a video has.

    MP4 and QuickTime announce the number of frames; AVI and Matroska, and FLV without sound, the
    time at which the video ends, and Matroska the distance of frames. Of others, such as MPEG
    streams, nothing is known.

    Args:
        container: it was read to its end.
        stream: the video.
        found: what came.
    """
    if "mov" in container.format.name:
        return max(0, stream.frames - found.packets) if stream.frames else 0
    announced, base = _announced_end(container, stream), stream.time_base
    if announced is None or base is None or not found.end:
        return 0
    after = round((announced / base - found.end) * found.packets / found.end)
    is_regular = stream.average_rate == stream.base_rate and "matroska" in container.format.name
    return (after if after >= _LEAST else 0) + (_between(found.steps) if is_regular else 0)


def _between(steps: Counter[int]) -> int:
    """How many frames are missing between others, in a video of few gaps.

    One of many gaps has a variable rate, whatever its header says.
    """
    count = steps.total()
    if not count:
        return 0
    typical = sorted(steps.elements())[count // 2]
    gaps = {step: n for step, n in steps.items() if typical > 0 and step > _GAP * typical}
    if sum(gaps.values()) > max(_FEW, _FEW_SHARE * count):
        return 0
    return sum((round(step / typical) - 1) * n for step, n in gaps.items())


def _announced_end(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Fraction | None:
    """When the video ends by the header, seconds."""
    name = container.format.name
    if "avi" in name and stream.frames and stream.time_base:
        return stream.frames * stream.time_base  # its frames are ticks
    if "matroska" not in name and name != "flv":
        return None
    clock = _CLOCK.match(stream.metadata.get("DURATION", ""))
    if clock:
        return (int(clock[1]) * 60 + int(clock[2])) * 60 + Fraction(clock[3])
    # The duration of the whole counts the sound too.
    if len(container.streams) == 1 and container.duration:
        return Fraction(container.duration, 1_000_000)
    return None
