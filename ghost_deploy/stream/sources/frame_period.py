"""When a live source will give its next frame."""

from __future__ import annotations

from ghost_deploy.stream.duration import Duration

__all__ = ["Rhythm"]

_SHARE = 0.15
"""Of a frame interval: a frame that will be replaced within that time is about as old as can be."""

_PAUSE_S = 2.0


class Rhythm:
    """Learns how long after the capture of a frame the next one arrives, and expects it then."""

    def __init__(self) -> None:
        self._step = Duration()
        self._captured_s: float | None = None

    def arrived(self, captured_s: float, now_s: float) -> None:
        """A frame captured at `captured_s` has arrived; a pause before it is no rhythm."""
        before, self._captured_s = self._captured_s, captured_s
        if before is not None and now_s - before < _PAUSE_S:
            self._step.add(now_s - before)

    def expects(self, now_s: float, within_s: float) -> bool:
        """Whether the next frame is about to arrive, or late.

        Args:
            now_s: on the monotonic clock, seconds.
            within_s: how soon it must be expected, besides 15 % of a frame interval.
        """
        step, captured_s = self._step, self._captured_s
        window_s = min(_SHARE * step.mean, within_s)
        # Without a steady beat there is nothing to expect.
        if captured_s is None or step.deviation > window_s:
            return False
        return now_s >= captured_s + step.mean - window_s
