"""Let a sink fail for a while without taking the run with it."""

from __future__ import annotations

import threading
import time

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.policy import Backoff
from ghost_deploy.stream.result import Result, Sink
from ghost_deploy.stream.sinks.outbox import DeliveryStats

__all__ = ["GuardedSink"]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0


class GuardedSink:
    """Hands on to a sink that a full disk may stop; what it cannot take is lost and counted.

    After a failure the sink is left alone for a while, then tried again with the next result.

    Args:
        sink: it raises `InputError` when it cannot write, and can be written to again.
        first_wait_s, longest_wait_s: limits of the wait after a failure, seconds.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        first_wait_s: float = _FIRST_WAIT_S,
        longest_wait_s: float = _LONGEST_WAIT_S,
    ) -> None:
        self._sink = sink
        self._backoff = Backoff(first_wait_s, longest_wait_s)
        self._wait_until = 0.0
        self._lock = threading.Lock()
        self._written = self._lost = self._failures = 0
        self._error = ""

    def write(self, result: Result) -> None:
        """Hand on one result, or count it as lost."""
        if time.monotonic() < self._wait_until:
            with self._lock:
                self._lost += 1
            return
        try:
            self._sink.write(result)
        except InputError as error:
            self._wait_until = time.monotonic() + self._backoff.delay()
            with self._lock:
                self._lost += 1
            self._failed(error)
        else:
            self._backoff.reset()
            with self._lock:
                self._written += 1

    def stats(self) -> DeliveryStats:
        """What was written and lost; `retries` counts the failures."""
        with self._lock:
            return DeliveryStats(self._written, self._lost, 0, self._failures, self._error)

    def close(self) -> None:
        """Close the sink; if it cannot write its end, that is in the statistics."""
        try:
            self._sink.close()
        except InputError as error:
            self._failed(error)

    def _failed(self, error: InputError) -> None:
        with self._lock:
            self._failures += 1
            self._error = f"{error.what}: {error.got}" if error.got else error.what
