"""Losses of int8 models that differ in which nodes stay float: built, judged, written down."""

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

__all__ = ["Build", "FloatNodes", "Judge", "Measure", "Progress"]

FloatNodes: TypeAlias = frozenset[str]
"""Names of nodes that stay float."""

Build: TypeAlias = Callable[[FloatNodes], Path]
"""Writes the int8 model whose named nodes stay float. Called again with the same nodes it may
return the same file; the files are the caller's."""

Judge: TypeAlias = Callable[[Path], float]
"""What a model lost against the float model, larger is worse: points of mAP50-95 with labels, or
points of detections that differ without."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""


class Measure:
    """`judge(build(nodes))`, each set once ever.

    Args:
        build, judge: for several processes they must be picklable: functions of a module, or
            instances of a class of one; lambdas are not.
        name: of the judge, part of what is written down.
        journal: of measured values; None for memory only.
        workers: processes; 1 measures in this one. Give the judge's runtime as many threads as
            there are cores for each.

    Raises:
        UsageError: the judge gives something that is not a finite number.
        BackendError: a worker process died.
    """

    def __init__(
        self,
        build: Build,
        judge: Judge,
        *,
        name: str = "judge",
        journal: Journal | None = None,
        workers: int = 1,
    ) -> None:
        self._build, self._judge, self._name = build, judge, name
        self._journal = journal or Journal(None, "")
        self.workers = workers

    def __call__(self, nodes: FloatNodes) -> float:
        """The loss of the model whose `nodes` stay float."""
        return self.all([nodes])[0]

    def all(
        self, sets: Sequence[FloatNodes], progress: Progress | None = None, what: str = "measuring"
    ) -> list[float]:
        """The loss of each, in order; those not measured before are shared out to the workers."""
        missing = [nodes for nodes in dict.fromkeys(sets) if self._known(nodes) is None]
        done = len(set(sets)) - len(missing)
        for nodes, value in self._measured(missing):
            self._journal.note(value, self._name, *sorted(nodes))
            done += 1
            if progress:
                progress(what, done, len(set(sets)))
        values = [self._known(nodes) for nodes in sets]
        return [value for value in values if value is not None]

    def _known(self, nodes: FloatNodes) -> float | None:
        return self._journal.get(self._name, *sorted(nodes))

    def _measured(self, sets: Sequence[FloatNodes]) -> Iterator[tuple[FloatNodes, float]]:
        if self.workers == 1 or len(sets) < 2:
            for nodes in sets:
                yield nodes, _loss(self._build, self._judge, nodes)
            return
        # Forking a process that has run ONNX Runtime or OpenCV threads can hang.
        context = multiprocessing.get_context("spawn")
        count = min(self.workers, len(sets))
        with ProcessPoolExecutor(count, mp_context=context) as pool:
            tasks = {pool.submit(_loss, self._build, self._judge, nodes): nodes for nodes in sets}
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


def _loss(build: Build, judge: Judge, nodes: FloatNodes) -> float:
    value = float(judge(build(nodes)))
    if not math.isfinite(value):
        raise UsageError(
            "a model was judged with something that is not a number",
            got=value,
            expected="points lost against the float model",
            fix="Check the judge on the float model: it must give about 0",
        )
    return value
