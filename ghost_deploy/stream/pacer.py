"""When a worker should fetch its next frame."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ghost_deploy.stream.duration import Duration

_MARGIN_S = 0.001
"""How long before the runtime is free a frame should be ready: thread switches take time."""

_PATIENCE = 0.15  # of the time between two runs


class Pacer:
    """Manages the runtime's slots, and times the fetch of the next frame for one.

    A frame fetched while all slots are busy waits and ages; one fetched when a slot is free leaves
    the runtime idle during its preparation. A frame is therefore fetched so that it is ready when
    the slot is expected to become free, or a little earlier if times vary: an idle runtime costs
    more than a frame that is some milliseconds older.

    Args:
        slots: runs that the runtime computes in parallel.
        eager: fetch at once, for sources whose frames do not age.
    """

    def __init__(self, slots: int, *, eager: bool = False) -> None:
        self._slots = slots
        self._eager = eager
        self._changed = threading.Condition()
        self._started: dict[int, float] = {}  # start of each run under way, by thread
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
    def slot(self, prepare_s: float) -> Iterator[None]:
        """Hold a slot while the block runs the model; each fetch ends here or in `dismiss`.

        Args:
            prepare_s: time from the fetch of the frame to this call, seconds.
        """
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: len(self._started) < self._slots)
            began = self._started[me] = time.monotonic()
            self._preparing -= 1
            self._prepare.add(prepare_s)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                del self._started[me]
                self._run.add(time.monotonic() - began)
                self._changed.notify_all()

    def close(self) -> None:
        """Let all waiting threads fetch."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _seconds_to_wait(self, now: float) -> float:
        """Until the slot for the next frame is free, minus the time to prepare it."""
        ahead = self._preparing + len(self._started) - self._slots
        if ahead < 0:
            return 0.0
        ends = sorted(start + self._run.least for start in self._started.values())
        if ahead >= len(ends):
            return 1.0  # all frames under way are being prepared: one of them will start
        return ends[ahead] - now - self._prepare.most - _MARGIN_S
