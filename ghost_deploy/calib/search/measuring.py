"""Losses of int8 models that differ in which nodes stay float, each measured once."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeAlias

from ghost_deploy.calib.search.journal import Journal
from ghost_deploy.core.errors import BackendError, UsageError
from ghost_deploy.core.progress import Progress, silent

FloatNodes: TypeAlias = frozenset[str]
"""Names of nodes that stay float."""

Build: TypeAlias = Callable[[FloatNodes], Path]
"""Writes the int8 model whose named nodes stay float. Called again with the same nodes it may
return the same file; the files are the caller's."""

Loss: TypeAlias = Callable[[Path], float]
"""Loss of a model against the float model, larger is worse: points of mAP50-95 with labels, of
agreement without."""


class Measure:
    """`loss(build(nodes))`, computed once for each set of nodes.

    Args:
        build: writes a model; picklable for several processes.
        loss: judges it; picklable for several processes.
        name: of the loss, part of the key in the journal.
        journal: of measured values; None keeps them in memory.
        workers: processes; 1 measures in this one. The threads of the runtimes multiply with it.

    Raises:
        UsageError: the loss is not a finite number.
        BackendError: a worker process died.
    """

    def __init__(
        self,
        build: Build,
        loss: Loss,
        *,
        name: str = "loss",
        journal: Journal | None = None,
        workers: int = 1,
    ) -> None:
        self._build, self._loss, self._name = build, loss, name
        self._journal = journal or Journal(None, "")
        self.workers = workers

    def __call__(self, nodes: FloatNodes) -> float:
        """The loss of the model whose `nodes` stay float."""
        return self.all([nodes])[0]

    def all(
        self, sets: Sequence[FloatNodes], progress: Progress = silent, what: str = "measuring"
    ) -> list[float]:
        """The loss of each set, in order.

        Args:
            sets: new ones are distributed over the workers.
            progress: receives each measurement.
            what: its description.
        """
        missing = [nodes for nodes in dict.fromkeys(sets) if self._known(nodes) is None]
        done = len(set(sets)) - len(missing)
        for nodes, value in self._measured(missing):
            self._journal.note(value, self._name, *sorted(nodes))
            done += 1
            progress(what, done, len(set(sets)))
        values = [self._known(nodes) for nodes in sets]
        return [value for value in values if value is not None]

    def _known(self, nodes: FloatNodes) -> float | None:
        return self._journal.get(self._name, *sorted(nodes))

    def _measured(self, sets: Sequence[FloatNodes]) -> Iterator[tuple[FloatNodes, float]]:
        if self.workers == 1 or len(sets) < 2:
            for nodes in sets:
                yield nodes, _loss_of(self._build, self._loss, nodes)
            return
        # Forking a process that has run ONNX Runtime or OpenCV threads can hang.
        context = multiprocessing.get_context("spawn")
        count = min(self.workers, len(sets))
        with ProcessPoolExecutor(count, mp_context=context) as pool:
            tasks = {pool.submit(_loss_of, self._build, self._loss, nodes): nodes for nodes in sets}
            try:
                for task in as_completed(tasks):
                    yield tasks[task], task.result()
            except BrokenProcessPool as error:
                raise BackendError(
                    "a process that measured a model died",
                    got=str(error),
                    fix="Measure with one worker, or free some memory; what was measured is kept",
                ) from error
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _loss_of(build: Build, loss: Loss, nodes: FloatNodes) -> float:
    value = float(loss(build(nodes)))
    if not math.isfinite(value):
        raise UsageError(
            "the loss of a model is not a number",
            got=value,
            expected="points lost against the float model",
            fix="Check the judge on the float model: its loss must be about 0",
        )
    return value
