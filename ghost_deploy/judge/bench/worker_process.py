"""The benchmark's handle on a worker process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any, Protocol

import msgspec

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import BackendError
from ghost_deploy.core.parent_death import parent_mark
from ghost_deploy.judge.bench.timer import Phase, Turn
from ghost_deploy.judge.bench.worker_main import Done, Failure, MeasureRequest, Ready, Reply, Task

_END_LIMIT_S = 5.0
_COMMAND = ("-m", "ghost_deploy.judge.bench.worker_main")


class Measurer(Protocol):
    """An open candidate that can be timed; `peak_bytes` is its largest memory use so far."""

    ready: Ready
    peak_bytes: int

    def turn(self, phase: Phase, seconds: float) -> Turn:
        """Time one phase; see `CandidateTimer.turn`."""

    def close(self) -> None:
        """Free the model."""


class WorkerProcess(Closing):
    """A `Measurer` in a process of its own.

    Raises:
        GhostDeployError: what the worker raised, as its own class; see `open_timer`.
        BackendError: the process ended.
    """

    def __init__(self, task: Task) -> None:
        self._name = f"{task.path} on {task.config.runtime}"
        self.peak_bytes = 0
        self._child = subprocess.Popen(
            [sys.executable, *_COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **parent_mark()},
        )
        try:
            ready = self._ask(task)
        except BaseException:
            self.close()
            raise
        assert isinstance(ready, Ready)
        self.ready = ready

    def turn(self, phase: Phase, seconds: float) -> Turn:
        """Time one phase; see `CandidateTimer.turn`.

        Raises:
            GhostDeployError: as above.
        """
        done = self._ask(MeasureRequest(phase, seconds))
        assert isinstance(done, Done)
        self.peak_bytes = done.peak_bytes
        return done.turn

    def close(self) -> None:
        """End the process; calling it again does nothing."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(OSError):  # it has ended already
            self._child.stdin.close()
        try:
            self._child.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()

    def _ask(self, message: Any) -> Reply:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # its last answer may still be in the pipe
            # Paths that are not UTF-8 hold surrogates, which msgspec's own JSON has not.
            text = json.dumps(msgspec.to_builtins(message))
            self._child.stdin.write(text.encode() + b"\n")
            self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise BackendError(
                f"the process that measured {self._name} ended",
                got=_how_ended(self._child.wait()),
                fix="See what it printed above; measure fewer at once if memory ran out",
            )
        reply: Reply = msgspec.json.decode(line, type=Reply)
        if isinstance(reply, Failure):
            raise reply.error()
        return reply


def _how_ended(code: int) -> str:
    """How a process ended, from its return code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
