"""When the next frame of a live source is expected."""

from __future__ import annotations

from ghost_deploy.stream.duration import Duration

_SHARE = 0.15
"""Of a frame period: a frame that is replaced within that time is nearly at its greatest age."""

_PAUSE_S = 2.0


class FramePeriod:
    """Learns how long after the capture of a frame the next one arrives, and predicts it."""

    def __init__(self) -> None:
        self._step = Duration()
        self._captured_s: float | None = None

    def arrived(self, captured_s: float, now_s: float) -> None:
        """Count a frame captured at `captured_s` that arrived at `now_s`; pauses are left out."""
        before, self._captured_s = self._captured_s, captured_s
        if before is not None and now_s - before < _PAUSE_S:
            self._step.add(now_s - before)

    def expects(self, now_s: float, within_s: float) -> bool:
        """Whether the next frame is about to arrive, or late.

        Args:
            now_s: on the monotonic clock, seconds.
            within_s: how soon at most; and at most 15 % of a frame period.
        """
        step, captured_s = self._step, self._captured_s
        window_s = min(_SHARE * step.mean, within_s)
        # An irregular source cannot be predicted.
        if captured_s is None or step.deviation > window_s:
            return False
        return now_s >= captured_s + step.mean - window_s
