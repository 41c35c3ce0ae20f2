"""A worker process of the engine `local`: gets tasks over a pipe, and writes parts itself.

Messages are pickled pairs. To the worker: `setup`, then a task at a time. From it:

    ("ready", what runs)
    ("done", TaskDone)
    ("failed", an exception)

What it reads at the moment is in a `StepNote`.
"""

from __future__ import annotations

import pickle
import queue
import signal
import sys
import threading
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

from ghost_deploy.batch.step_note import StepNote
from ghost_deploy.batch.work_tasks import Task
from ghost_deploy.core.errors import BackendError, GhostDeployError
from ghost_deploy.core.parent_death import end_with_parent

_Tasks: TypeAlias = "queue.SimpleQueue[Task | BaseException | None]"


def main(descriptor: int, note: int) -> None:
    """Work until the pipe ends.

    Args:
        descriptor: of this end of the pipe.
        note: of the `StepNote`.
    """
    end_with_parent()
    # Ctrl-C and the end of the terminal reach the whole group; the driver ends this process when it
    # has understood.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    with Connection(descriptor) as pipe:
        try:
            _work(pipe, StepNote(note))
        except (EOFError, BrokenPipeError):
            return
        # The driver raises it again.
        except Exception as error:
            pipe.send(("failed", _portable(error)))


def _work(pipe: Connection, note: StepNote) -> None:
    # Behind `end_with_parent`: importing takes seconds on a busy machine, and the driver may die.
    from ghost_deploy.batch.part_worker import PartWorker

    setup = pipe.recv()
    tasks: _Tasks = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(pipe, tasks), daemon=True).start()
    with PartWorker(setup, note.write) as worker:
        pipe.send(("ready", worker.described))
        while (task := tasks.get()) is not None:
            if isinstance(task, BaseException):
                raise task
            done = worker.start(task)
            note.write("", 0.0)
            sent = worker.then(partial(pipe.send, ("done", done)))
            sent.add_done_callback(lambda each: _tell_failed(each, tasks))


def _tell_failed(sent: Future[None], tasks: _Tasks) -> None:
    """Where a part could not be written, the main thread must not wait for the next task."""
    error = sent.exception()
    if error is not None:
        tasks.put(error)


def _receive(pipe: Connection, tasks: _Tasks) -> None:
    """Take tasks at once: a driver that waits for that reads no messages, and both would wait."""
    try:
        while True:
            tasks.put(pipe.recv())
    except (EOFError, OSError):
        tasks.put(None)


def _portable(error: Exception) -> Any:
    """The error, or one of ours in its place where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    # Pickling calls the code of the exception's class.
    except Exception:
        return _unexpected(error)
    return error if isinstance(error, GhostDeployError) else _unexpected(error)


def _unexpected(error: Exception) -> BackendError:
    return BackendError(
        f"unexpected {type(error).__name__} in a worker: {error}", fix="This is a bug: report it"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
