"""How far a run over videos is, and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ghost_deploy.cli.format import clock
from ghost_deploy.stream.source_stats import SourceStats

_EVERY_S, _AT_LEAST_EVERY_S = 5.0, 60.0
_STEP = 0.01
_LEAST_SHARE = 0.001
"""A remaining time is not estimated from less."""


@dataclass(frozen=True)
class RunProgress:
    """How far a run is.

    Attributes:
        share: of the run that is done, 0 to 1; each source counts the same.
        remaining_s: at the rate so far, seconds; None at the beginning.
    """

    share: float
    remaining_s: float | None = None

    def __str__(self) -> str:
        """For example `37 %, 1:20 left`."""
        left = "" if self.remaining_s is None else f", {clock(self.remaining_s)} left"
        return f"{int(100 * self.share)} %{left}"


class LiveProgress:
    """Measures a run over sources that end, and says when a line about it is due.

    Args:
        now_s: monotonic, seconds.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._began_s = self._told_s = now_s()
        self._told = 0.0

    def read(self, sources: Sequence[SourceStats]) -> RunProgress | None:
        """The progress now; None if the length of a source is unknown."""
        shares = [share for each in sources if (share := each.done_share) is not None]
        if not shares or len(shares) < len(sources):
            return None
        share = sum(shares) / len(shares)
        if share < _LEAST_SHARE:
            return RunProgress(share)
        return RunProgress(share, (self._now_s() - self._began_s) * (1 - share) / share)

    def is_due(self, share: float) -> bool:
        """Whether a line is due: every five seconds with one more per cent, else every minute."""
        waited = self._now_s() - self._told_s
        if waited < _EVERY_S or (share - self._told < _STEP and waited < _AT_LEAST_EVERY_S):
            return False
        self._told, self._told_s = share, self._now_s()
        return True
