"""What every engine is given, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ghost_deploy.batch.part_worker import WorkerSetup
from ghost_deploy.batch.run_progress import ProgressMeter
from ghost_deploy.batch.work_tasks import Task


@dataclass(frozen=True)
class EngineRun:
    """A run that an engine carries out.

    Attributes:
        setup: of the workers.
        tasks: makes what is to be done.
        workers: how many work side by side on this machine.
        most_workers: that the user named; None where the machines decide.
        threads: compute threads of each.
        meter: counts.
        note: is told in words what happens.
    """

    setup: WorkerSetup
    tasks: Callable[[], Iterator[Task]]
    workers: int
    most_workers: int | None
    threads: int
    meter: ProgressMeter
    note: Callable[[str], None]
