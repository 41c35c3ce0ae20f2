"""Keep a run alive while a sink fails."""

from __future__ import annotations

import time

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.backoff import Backoff
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import CountingSink, DeliveryCounter, DeliveryStats, Sink

_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0


class RetryingSink(CountingSink):
    """Passes results to a sink that may fail, e.g. on a full disk; failed results are counted.

    After a failure results are dropped for a while, then the sink is tried again.

    Args:
        sink: raises `InputError` when it cannot write, and can be written to again.
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
        self._counter = DeliveryCounter()

    def write(self, result: Result) -> None:
        """Pass on one result, or count it as lost."""
        if time.monotonic() < self._wait_until:
            self._counter.add(dropped=1)
            return
        try:
            self._sink.write(result)
        except InputError as error:
            self._wait_until = time.monotonic() + self._backoff.delay()
            self._counter.add(_reason(error), dropped=1, retries=1)
        else:
            self._backoff.reset()
            self._counter.add(sent=1)

    def stats(self) -> DeliveryStats:
        """Return the counters now; `retries` counts the failures."""
        return self._counter.stats()

    def close(self) -> None:
        """Close the sink; a failure is counted in the statistics."""
        try:
            self._sink.close()
        except InputError as error:
            self._counter.add(_reason(error), retries=1)


def _reason(error: InputError) -> str:
    return f"{error.what}: {error.got}" if error.got else error.what
