"""The settings of a live run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ghost_deploy.core.errors import UsageError

_ROI_FORM = "x1,y1,x2,y2 in source pixels, or as fractions from 0 to 1"


@dataclass(frozen=True)
class Roi:
    """A rectangle of the image: source pixels, or fractions of its width and height."""

    x1: float
    y1: float
    x2: float
    y2: float

    @classmethod
    def parse(cls, text: str) -> Roi:
        """Read `x1,y1,x2,y2`; it is in fractions if no number is above 1.

        Raises:
            UsageError: not four numbers, or no area.
        """
        number = r"\s*(\d+(?:\.\d*)?|\.\d+)\s*"
        match = re.fullmatch(",".join([number] * 4), text)
        roi = cls(*map(float, match.groups())) if match else None
        if roi is None or roi.x1 >= roi.x2 or roi.y1 >= roi.y2:
            raise UsageError(
                "this is no region", got=text, expected=_ROI_FORM, fix="Give --roi 0,0,0.5,1"
            )
        return roi

    def pixels(self, size_hw: tuple[int, int]) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2 in whole pixels of an image of `size_hw`, clipped to it.

        Raises:
            UsageError: the region is outside the image.
        """
        height, width = size_hw
        fractions = max(self.x2, self.y2) <= 1
        scale_x, scale_y = (width, height) if fractions else (1, 1)
        x1, x2 = (min(round(x * scale_x), width) for x in (self.x1, self.x2))
        y1, y2 = (min(round(y * scale_y), height) for y in (self.y1, self.y2))
        if x1 >= x2 or y1 >= y2:
            corners = ",".join(f"{value:g}" for value in (self.x1, self.y1, self.x2, self.y2))
            raise UsageError(
                f"the region {corners} is outside the image",
                got=f"an image of {width} x {height} pixels",
                fix="Give the region as fractions from 0 to 1",
            )
        return x1, y1, x2, y2


@dataclass(frozen=True)
class LivePolicy:
    """What is done with the frames of every source.

    Attributes:
        max_age_ms: a live frame older than that when its turn comes is dropped; None keeps all.
        fps: most frames inferred a second of each source; None sets no limit.
        every: infer every Nth frame.
        skip_still: drop frames in which nothing moved.
        roi: infer that part of the image only.
        require_all: a source that is not there at the start is an error.
        give_up_s: a live source lost for so long has failed; None tries for ever.
        rtsp_by: what reads RTSP: `auto` is GStreamer where it has the decoder of a Jetson, else
            FFmpeg.
        batch: most frames inferred at once, of live sources one of each.
        batch_wait_ms: how long the first frame of a batch waits for others of live sources.
        open_timeout_s, read_timeout_s: a source silent for so long is lost, seconds.
        retry_s: first and longest delay before a lost source is opened again, seconds.
    """

    max_age_ms: float | None = None
    fps: float | None = None
    every: int = 1
    skip_still: bool = False
    roi: Roi | None = None
    require_all: bool = False
    give_up_s: float | None = None
    rtsp_by: Literal["auto", "ffmpeg", "gstreamer"] = "auto"
    batch: int = 1
    batch_wait_ms: float = 10.0
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    retry_s: tuple[float, float] = (0.1, 10.0)
