"""How far a run over an archive is, and what it has counted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

_SHOWN_EVERY_S = 0.5
_WINDOW_S = 60.0
"""The rate is that of the last minute: the cores may be shared, and sources differ."""


@dataclass(frozen=True)
class BatchProgress:
    """How far a run is.

    Attributes:
        done: sources that have their rows, those of earlier runs too; of a video under way the
            share that is done.
        total: sources.
        rows: that this run has written.
        errors: of them.
        rate: rows a second; 0 at the beginning.
        remaining_s: at the rate so far, seconds; None at the beginning.
        workers: rows a second of each worker, by its number or name.
        restarts: workers that ended and were replaced.
    """

    done: float
    total: int
    rows: int = 0
    errors: int = 0
    rate: float = 0.0
    remaining_s: float | None = None
    workers: dict[str, float] = field(default_factory=dict)
    restarts: int = 0


ShowProgress: TypeAlias = Callable[[BatchProgress], None]


class ProgressMeter:
    """Counts what workers report.

    Args:
        total: sources of the run.
        before: of them, how many were done before.
        show: is told of the progress, at most twice a second.
        now_s: monotonic, seconds.
    """

    def __init__(
        self,
        total: int,
        before: int,
        show: ShowProgress,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rows = self.errors = self.restarts = 0
        self._total, self._done, self._show, self._now_s = total, float(before), show, now_s
        self._before = float(before)
        self._began_s = self._shown_s = now_s()
        self._recent: deque[tuple[float, str, int]] = deque()
        self._worker_began: dict[str, float] = {}

    def began(self, worker: str, before_s: float = 0.0) -> None:
        """A worker is ready, or was so many seconds before."""
        self._worker_began.setdefault(worker, self._now_s() - before_s)

    def add(self, worker: str, size: int, rows: int, errors: int) -> None:
        """A worker has done a task.

        Args:
            worker: its name.
            size: sources of the task.
            rows: that it wrote.
            errors: of them.
        """
        self._done += size
        self.rows += rows
        self.errors += errors
        self._recent.append((self._now_s(), worker, rows))

    def is_due(self) -> bool:
        """Whether it is time to tell the progress."""
        return self._now_s() - self._shown_s >= _SHOWN_EVERY_S

    def show(self, under_way: float) -> None:
        """Tell the progress.

        Args:
            under_way: sources that are done in tasks that are not.
        """
        self._shown_s = self._now_s()
        self._show(self.read(under_way))

    def counted(self) -> dict[str, Any]:
        """What a `BatchReport` says of this run."""
        return {
            "rows": self.rows,
            "errors": self.errors,
            "rate": self.mean_rate(),
            "workers": self.read().workers,
            "restarts": self.restarts,
        }

    def mean_rate(self) -> float:
        """Rows a second since the first worker was ready."""
        begun = min(self._worker_began.values(), default=self._began_s)
        return round(self.rows / max(self._now_s() - begun, 1e-9), 2)

    def read(self, under_way: float = 0.0) -> BatchProgress:
        """The progress now."""
        now = self._now_s()
        while self._recent and self._recent[0][0] < now - _WINDOW_S:
            self._recent.popleft()
        by_worker: dict[str, int] = dict.fromkeys(self._worker_began, 0)
        for _, worker, rows in self._recent:
            by_worker[worker] = by_worker.get(worker, 0) + rows
        workers = {}
        for worker, rows in by_worker.items():
            since = max(self._worker_began.get(worker, self._began_s), now - _WINDOW_S)
            workers[worker] = round(rows / max(now - since, 1e-9), 2)
        begun = min(self._worker_began.values(), default=now)
        done = min(self._done + under_way, float(self._total))
        fresh = done - self._before
        remaining = None
        if fresh > 0 and now > begun:
            remaining = (now - begun) * (self._total - done) / fresh
        return BatchProgress(
            done=round(done, 2),
            total=self._total,
            rows=self.rows,
            errors=self.errors,
            rate=round(sum(workers.values()), 2),
            remaining_s=remaining,
            workers=workers,
            restarts=self.restarts,
        )
