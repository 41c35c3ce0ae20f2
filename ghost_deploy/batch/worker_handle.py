"""The driver's handle on a worker process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import deque
from typing import Any

from ghost_deploy.batch.part_worker import WorkerSetup
from ghost_deploy.batch.step_note import StepNote
from ghost_deploy.batch.work_tasks import Task
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.parent_death import parent_mark

_COMMAND = ("-m", "ghost_deploy.batch.local_worker")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_END_LIMIT_S = 5.0


class WorkerHandle(Closing):
    """A worker process, the tasks that it was given, and how far it is.

    A process of its own program, not of `multiprocessing`, which would run the main module of the
    user's program again.

    Args:
        number: of the worker, from 0.
        setup: of the run.
        threads: compute threads.

    Attributes:
        number: see above.
        tasks: that were given to it and are not done, in order.
        is_ready: the model is open.
        described: what it runs.
    """

    def __init__(self, number: int, setup: WorkerSetup, threads: int) -> None:
        self.number = number
        self.tasks: deque[Task] = deque()
        self._note = StepNote.create()
        self.is_ready, self.described = False, ""
        self._is_closed = False
        self.pipe, other = multiprocessing.Pipe()
        environment = {**os.environ, **parent_mark()}
        environment.update(dict.fromkeys(_THREADS, str(threads)))
        with other:
            passed = [other.fileno(), self._note.descriptor]
            self._process = subprocess.Popen(
                [sys.executable, *_COMMAND, *map(str, passed)],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        self._send(setup)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def step(self) -> tuple[str, float]:
        """The source that it reads, and how much of its first task is done."""
        return self._note.read()

    def give(self, task: Task) -> None:
        """Give a task; the process does them one after another."""
        self.tasks.append(task)
        self._send(task)

    def receive(self) -> tuple[str, Any]:
        """The next message.

        Raises:
            EOFError: the process has ended.
        """
        try:
            kind, value = self.pipe.recv()
        except (OSError, EOFError) as error:
            raise EOFError from error
        if kind == "ready":
            self.is_ready, self.described = True, value
        return kind, value

    def how_ended(self) -> str:
        """How the process ended, in words, e.g. `SIGKILL`."""
        code = self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"

    def close(self) -> None:
        """End the process at once: what it has written is whole."""
        if not self.pipe.closed:
            self.pipe.close()
        self._process.kill()
        self._process.wait()
        if not self._is_closed:
            self._is_closed = True
            self._note.close()

    def finish(self) -> None:
        """Let the process end by itself, which has nothing left to do."""
        self.pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_LIMIT_S)
        self.close()

    def _send(self, value: object) -> None:
        # That it has ended is seen when its messages are read.
        with contextlib.suppress(OSError):
            self.pipe.send(value)


def wait_for(handles: list[WorkerHandle], timeout_s: float) -> list[WorkerHandle]:
    """The workers that have sent something or have ended, after at most that time."""
    from multiprocessing.connection import wait

    by_pipe: dict[Any, WorkerHandle] = {handle.pipe: handle for handle in handles}
    ready: list[Any] = wait(list(by_pipe), timeout_s)
    return [by_pipe[pipe] for pipe in ready]
