"""End a live run on SIGINT and SIGTERM."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SAME_SIGNAL_S = 1.0


class SignalHandler:
    """In its block the first signal stops the run, and the next one ends the process.

    Before `stops` is called, a signal raises KeyboardInterrupt, as soon as a call into a library
    that is under way returns. A second signal within a second counts as the same: `timeout` and
    some shells send it twice, to the process and to its group.

    `caught` is the signal that ended the run.
    """

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._first_s = 0.0
        self._stop: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def stops(self, stop: Callable[[], None]) -> None:
        """Let the first signal call `stop`; call it at once if a signal has come already."""
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
