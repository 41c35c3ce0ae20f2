"""When to try again after a failure."""

from __future__ import annotations

import random


class Backoff:
    """Delays between attempts: doubled each time up to a limit, with jitter.

    The jitter (half to all of the delay) spreads the attempts of many clients after the restart of
    a camera, server or switch.

    Args:
        first_s, most_s: the first and the longest delay, seconds.
    """

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first = first_s
        self._most = most_s
        self._next = first_s

    def delay(self) -> float:
        """Seconds to wait before the next attempt."""
        delay = self._next
        self._next = min(delay * 2, self._most)
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again with the first delay, after a success."""
        self._next = self._first
