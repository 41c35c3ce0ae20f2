"""Progress of a build: reported by the builder from 10 on, read from its log before."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.tensorrt.compat import TensorrtApi, derive

WHAT = "building"
STOPPING = "waiting for TensorRT 8, which cannot stop a build; Ctrl-C again ends the process"

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
_SIGNALS = tuple(each for each in signal.Signals if each.name in _NAMES)
_SAME_SIGNAL_S = 1.0
"""`timeout` and some shells send a signal twice, to the process and to its group."""

_PARTS = 100
_COSTS = "Computing costs for"
"""8.x logs a line with this at VERBOSE for each layer whose kernels it times (public logs)."""


@dataclass
class _BuildPhase:
    """A phase of the build; phases nest."""

    parent: str | None
    steps: int
    done: int = 0


class BuildProgress:
    """Progress of one build: from 10 on hundredths of the whole, before layers.

    Args:
        progress: called at each step, with `building` as what is done.

    Attributes:
        interrupted: Ctrl-C was pressed during the build. It ends at the next step from 10 on, and
            is discarded at its end before.
    """

    def __init__(self, progress: Progress) -> None:
        self.interrupted = False
        self._report = progress
        self._phases: dict[str, _BuildPhase] = {}
        self._layers = self._done = 0

    def attach(self, api: TensorrtApi, config: Any, layers: int) -> None:
        """Follow a build of a network with that number of layers."""
        if not api.progress_monitor:
            self._layers = layers
            return
        config.progress_monitor = derive(
            api.module.IProgressMonitor,
            phase_start=lambda _, name, parent, steps: self._start(name, parent, steps),
            step_complete=lambda _, name, step: self._step(name, step),
            phase_finish=lambda _, name: self._phases.pop(name, None),
        )

    def read_log_line(self, line: str) -> None:
        """Take a line of the builder's log."""
        if self.interrupted and self._layers:
            self._layers = 0
            self._report(STOPPING, 0, 0)
        if self._layers and _COSTS in line:
            self._done = min(self._done + 1, self._layers)
            self._report(WHAT, self._done, self._layers)

    @contextlib.contextmanager
    def deferred_signals(self) -> Iterator[None]:
        """While open, a first signal to end only sets `interrupted`; it is raised at the end.

        An exception that a signal raises within one of TensorRT's callbacks would be swallowed
        there, and the build then be reported as failed. A second signal ends the process.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are raised in the main thread alone
            return
        caught: list[tuple[int, float]] = []

        def note(number: int, _: FrameType | None) -> None:
            if caught and time.monotonic() - caught[0][1] > _SAME_SIGNAL_S:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            caught.append((number, time.monotonic()))
            self.interrupted = True

        handled = [each for each in _SIGNALS if signal.getsignal(each) is not signal.SIG_IGN]
        before = {number: signal.signal(number, note) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if caught:
                signal.raise_signal(caught[0][0])

    def _start(self, name: str, parent: str | None, steps: int) -> None:
        self._phases[name] = _BuildPhase(parent, max(1, steps))

    def _step(self, name: str, step: int) -> bool:
        """Return whether the build goes on."""
        if self.interrupted:
            return False
        phase = self._phases.get(name)
        if phase is not None:
            phase.done = step + 1
        self._done = max(self._done, int(_PARTS * self._share(name)))
        try:
            self._report(WHAT, self._done, _PARTS)
        except KeyboardInterrupt:
            self.interrupted = True
        # An exception must not pass through TensorRT's code, which ends the process.
        except Exception:
            self._report = silent
        return not self.interrupted

    def _share(self, name: str) -> float:
        """Share of the whole build that is done, 0 to 1; `name` is the innermost phase."""
        share = 0.0
        phase = self._phases.get(name)
        while phase is not None:
            # A parent counts its step when the phases within it are over.
            share = min(1.0, (phase.done + share) / phase.steps)
            phase = self._phases.get(phase.parent) if phase.parent else None
        return share
