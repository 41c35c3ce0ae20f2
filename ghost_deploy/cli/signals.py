"""End a run on SIGINT, SIGTERM and, where the terminal is closed, SIGHUP."""

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
    """A signal of `terminations`, raised like Ctrl-C so that everything cleans up in the same way.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.number = number


def terminations() -> tuple[signal.Signals, ...]:
    """SIGTERM, and SIGHUP where the caller does not ignore it, as `nohup` does, and has it."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, hangup)


@contextmanager
def termination_as_exception() -> Iterator[None]:
    """In its block `terminations` raise `Terminated` instead of ending the process on the spot.

    Only in the main thread, the only one that may set a handler.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in terminations()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
                if number != signal.SIGINT:  # at once, even if the main thread hangs
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
        ends = (signal.SIGINT, *terminations())
        self._before = {number: signal.signal(number, self._on_signal) for number in ends}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
