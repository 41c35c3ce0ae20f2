"""When a frame was captured, judged by its own time stamp and not only by its arrival."""

from __future__ import annotations

__all__ = ["StampClock"]

_WINDOW_NS = 5_000_000_000


class StampClock:
    """Turns the time stamps of a stream into capture times on our monotonic clock.

    Frames that the network held up arrive late and together: by their arrival they look new. The
    difference between arrival and stamp is smallest for a frame that was not held up; the least
    one of the last five to ten seconds is taken for the offset of the camera's clock. It forgets,
    so that neither a drifting clock nor stamps that jump can spoil ages for longer than that.
    """

    def __init__(self) -> None:
        self._last_stamp = 0
        self._window_end = 0
        self._offset: int | None = None  # the least of this window
        self._offset_before: int | None = None  # the least of the window before

    def captured_ns(self, arrival_ns: int, stamp_ns: int) -> int:
        """Capture time, never after the arrival; the arrival itself where stamps are no use.

        Args:
            arrival_ns: monotonic clock when the frame came.
            stamp_ns: of the frame, on the camera's clock; it must increase from frame to frame.
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
