"""End a live run on SIGINT and SIGTERM."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised like Ctrl-C so that everything cleans up in the same way."""


@contextmanager
def termination_as_exception() -> Iterator[None]:
    """In its block SIGTERM raises `Terminated` instead of ending the process on the spot.

    Only in the main thread, the only one that may set a handler.
    """

    def stop(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
                if number == signal.SIGTERM:  # at once, even if the main thread hangs
                    signal.signal(number, signal.SIG_DFL)
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
