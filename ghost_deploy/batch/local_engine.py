"""The engine `local`: worker processes of this machine, one thread each.

Each worker has the task that it does and the next one, so that none waits and few are lost. One
that ends is replaced, and its tasks are done again: a part that was written just before is written
once more, with the same rows under the same name. A source at which workers have ended several
times becomes a row with an error.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, deque

from ghost_deploy.batch.engine_run import EngineRun
from ghost_deploy.batch.work_tasks import ImagesTask, Task, TaskDone
from ghost_deploy.batch.worker_handle import WorkerHandle, wait_for
from ghost_deploy.core.errors import BackendError

_AHEAD = 2
_POLL_S = 0.5
_MOST_DEATHS, _MOST_DEATHS_AT_START = 3, 5
"""At one source, then it is an error; one after another before the model is open: the run ends."""


def run_local(run: EngineRun) -> None:
    """Do all tasks.

    Raises:
        GhostDeployError: what a worker raised: the model cannot be opened or fails on everything,
            or a store refuses.
        BackendError: workers end before they have opened the model.
    """
    _LocalRun(run).run()


class _LocalRun:
    def __init__(self, run: EngineRun) -> None:
        self._run = run
        self._tasks = run.tasks()
        self._again: deque[Task] = deque()
        self._workers: list[WorkerHandle] = []
        self._deaths: Counter[str] = Counter()
        self._deaths_at_start = 0

    def run(self) -> None:
        try:
            for number in range(self._run.workers):
                if not self._start(number):
                    break
            while self._workers:
                for worker in wait_for(self._workers, _POLL_S):
                    self._serve(worker)
                if self._run.meter.is_due():
                    self._run.meter.show(self._under_way())
        finally:
            for worker in self._workers:
                worker.close()

    def _start(self, number: int) -> bool:
        """Start a worker, unless there is nothing for it to do."""
        task = self._next()
        if task is None:
            return False
        worker = WorkerHandle(number, self._run.setup, self._run.threads)
        self._workers.append(worker)
        worker.give(task)
        return True

    def _fill(self, worker: WorkerHandle) -> None:
        """Give it tasks; one that has none and gets none ends."""
        while len(worker.tasks) < _AHEAD and (task := self._next()) is not None:
            worker.give(task)
        if not worker.tasks:
            self._workers.remove(worker)
            worker.finish()

    def _next(self) -> Task | None:
        if self._again:
            return self._again.popleft()
        return next(self._tasks, None)

    def _serve(self, worker: WorkerHandle) -> None:
        try:
            kind, value = worker.receive()
        except EOFError:
            self._replace(worker)
            return
        name = str(worker.number)
        if kind == "failed":
            raise value
        if kind == "ready":
            self._deaths_at_start = 0
            self._run.meter.began(name)
            self._fill(worker)  # each has one task before another has two
        if kind == "done":
            assert isinstance(value, TaskDone)
            task = worker.tasks.popleft()
            self._run.meter.add(name, task.size, value.rows, value.errors)
            self._fill(worker)

    def _replace(self, worker: WorkerHandle) -> None:
        self._workers.remove(worker)
        how = worker.how_ended()
        at, _ = worker.step()
        worker.close()
        tasks = list(worker.tasks)
        if not worker.is_ready:
            self._deaths_at_start += 1
            if self._deaths_at_start >= _MOST_DEATHS_AT_START:
                raise BackendError(
                    "workers end before they have opened the model",
                    got=how,
                    fix="See what they printed; with less memory take fewer: --workers N",
                )
        elif at and tasks:
            self._deaths[at] += 1
            if self._deaths[at] >= _MOST_DEATHS:
                tasks = [_without(task, at) for task in tasks]
        self._run.meter.restarts += 1
        where = f" at {at}" if at else ""
        self._run.note(f"worker {worker.number} ended ({how}){where} and is replaced")
        self._again.extendleft(reversed(tasks))
        self._start(worker.number)

    def _under_way(self) -> float:
        busy = [worker for worker in self._workers if worker.tasks]
        return sum(worker.tasks[0].size * worker.step()[1] for worker in busy)


def _without(task: Task, source: str) -> Task:
    """The task, in which the source becomes an error where it is one of its own."""
    files = task.files if isinstance(task, ImagesTask) else (task.file,)
    if all(file.source != source for file in files):
        return task  # the one before, which was being written
    return dataclasses.replace(task, fatal=task.fatal | {source})
