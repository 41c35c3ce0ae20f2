"""How a live run ends on SIGINT and SIGTERM."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Ending"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_SIGNAL_S = 1.0


class Ending:
    """While it is open, the first signal ends the run and the next one the process.

    Until there is something to stop, a signal raises KeyboardInterrupt, as soon as the call into
    a library comes back that is under way. A second signal within a second is the same one:
    `timeout` and some shells send it twice, to the process and to its group.

    `caught` is the signal that ended the run.
    """

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._first_s = 0.0
        self._stop: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def stops(self, stop: Callable[[], None]) -> None:
        """From now on the first signal calls `stop`; at once if it has come already."""
        self._stop = stop
        if self.caught:
            stop()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.caught:
            if time.monotonic() - self._first_s > _SAME_SIGNAL_S:
                self._restore()
                signal.raise_signal(number)
            return
        self.caught = signal.Signals(number)
        self._first_s = time.monotonic()
        if self._stop is None:
            raise KeyboardInterrupt
        self._stop()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
