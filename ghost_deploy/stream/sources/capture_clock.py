"""When a frame was captured, by its own time stamp and its arrival."""

from __future__ import annotations

_WINDOW_NS = 5_000_000_000


class CaptureClock:
    """Converts the time stamps of a stream to capture times on the monotonic clock.

    Frames delayed by the network arrive late and together: by their arrival they look new. The
    difference between arrival and stamp is smallest for a frame without delay; the least of the
    last five to ten seconds is taken as the offset of the camera's clock. The limited memory bounds
    the effect of a drifting clock and of jumping stamps.
    """

    def __init__(self) -> None:
        self._last_stamp = 0
        self._window_end = 0
        self._offset: int | None = None  # the least of this window
        self._offset_before: int | None = None  # the least of the window before

    def captured_ns(self, arrival_ns: int, stamp_ns: int) -> int:
        """Return the capture time, at most the arrival; the arrival itself if stamps are unusable.

        Args:
            arrival_ns: of the frame, monotonic clock.
            stamp_ns: of the frame, the camera's clock; it must increase from frame to frame.
        """
        advances = stamp_ns > self._last_stamp
        self._last_stamp = stamp_ns
        if not advances:
            self._offset = self._offset_before = None
            return arrival_ns
        if arrival_ns >= self._window_end:
            fresh = arrival_ns < self._window_end + _WINDOW_NS
            self._offset_before = self._offset if fresh else None
            self._offset = None
            self._window_end = arrival_ns + _WINDOW_NS
        offset = arrival_ns - stamp_ns
        self._offset = offset if self._offset is None else min(self._offset, offset)
        known = [each for each in (self._offset, self._offset_before) if each is not None]
        return stamp_ns + min(known)
