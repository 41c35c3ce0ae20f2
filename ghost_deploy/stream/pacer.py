"""When a worker should fetch its next frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ghost_deploy.stream.duration import Duration

_MARGIN_S = 0.001
"""How long before the runtime is free a frame should be ready: thread switches take time."""

_PATIENCE = 0.15  # of the time between two runs


@dataclass(eq=False)
class Run:
    """A run under way: when the runtime began it, monotonic seconds."""

    began: float


class Pacer:
    """Manages the runtime's slots, and times the fetch of the next frame for one.

    A frame fetched while all slots are busy waits and ages; one fetched when a slot is free leaves
    the runtime idle during its preparation. A frame is therefore fetched so that it is ready when
    the slot is expected to become free, or a little earlier if times vary: an idle runtime costs
    more than a frame that is some milliseconds older.

    Args:
        slots: runs that the runtime computes in parallel.
        queued: runs that may be started besides: the runtime begins one as soon as a slot is free,
            sooner than a thread that has to wake up for it.
        eager: fetch at once, for sources whose frames do not age.
    """

    def __init__(self, slots: int, *, queued: int = 0, eager: bool = False) -> None:
        self._slots = slots
        self._most = slots + queued
        self._eager = eager
        self._changed = threading.Condition()
        self._runs: list[Run] = []  # by their start; those behind the slots are queued
        self._preparing = 0
        self._run = Duration()
        self._prepare = Duration()
        self._closed = False

    def wait_to_fetch(self) -> None:
        """Return when it is time to fetch a frame; one thread at a time may wait."""
        with self._changed:
            while not (self._eager or self._closed):
                wait = self._seconds_to_wait(time.monotonic())
                if wait <= 0:
                    break
                self._changed.wait(wait)
            self._preparing += 1

    def dismiss(self) -> None:
        """The fetched frame will not be inferred."""
        with self._changed:
            self._preparing -= 1
            self._changed.notify_all()

    @property
    def patience_s(self) -> float:
        """How soon a newer frame must be expected to justify an idle runtime, seconds.

        Waits are shorter than that except for late frames, and in a live stream the same share of
        fetches waits: on average the runtime is idle for about 1 % of the time.
        """
        with self._changed:
            return 0.0 if self._eager else _PATIENCE * self._run.mean / self._slots

    @contextmanager
    def slot(self, prepare_s: float) -> Iterator[Run]:
        """Hold a slot, or a place in the queue, while the block runs the model.

        Each fetch ends here or in `dismiss`.

        Args:
            prepare_s: time from the fetch of the frame to this call, seconds.

        Returns:
            The run. Its start is known when the block has ended.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._runs) < self._most)
            run = Run(time.monotonic())
            self._runs.append(run)
            self._preparing -= 1
            self._prepare.add(prepare_s)
            self._changed.notify_all()
        try:
            yield run
        finally:
            with self._changed:
                self._end(run, time.monotonic())
                self._changed.notify_all()

    def close(self) -> None:
        """Let all waiting threads fetch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _end(self, run: Run, now: float) -> None:
        has_run = run in self._runs[: self._slots]
        self._runs.remove(run)
        self._run.add(now - run.began)
        if has_run and len(self._runs) >= self._slots:
            self._runs[self._slots - 1].began = now  # the first that was queued

    def _seconds_to_wait(self, now: float) -> float:
        """Until the slot for the next frame is free, minus the time to prepare it."""
        ahead = self._preparing + len(self._runs) - self._slots
        if ahead < 0:
            return 0.0
        ends = sorted(run.began + self._run.least for run in self._runs[: self._slots])
        if ahead >= len(ends):
            return 1.0  # of the frames under way one will end or start first
        return ends[ahead] - now - self._prepare.most - _MARGIN_S
