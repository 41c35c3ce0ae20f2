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
        if not self._sink.wants(result):
            return
        if time.monotonic() < self._wait_until:
            self._counter.add(dropped=1)
            return
        before = self._sink.held, self._sink.lost
        try:
            self._sink.write(result)
        except InputError as error:
            self._wait_until = time.monotonic() + self._backoff.delay()
            self._count(before, error, taken=0)
        else:
            self._count(before, taken=1)

    def stats(self) -> DeliveryStats:
        """Return the counters now; `retries` counts the failures."""
        return self._counter.stats()

    def close(self) -> None:
        """Close the sink; a failure is counted in the statistics."""
        before = self._sink.held, self._sink.lost
        try:
            self._sink.close()
        except InputError as error:
            self._count(before, error, taken=0, refused=0)
        else:
            self._count(before, taken=0)

    def _count(
        self,
        before: tuple[int, int],
        error: InputError | None = None,
        *,
        taken: int,
        refused: int = 1,
    ) -> None:
        """Count what a call has changed: what the sink took, and what it held before.

        Args:
            before: `held` and `lost` of the sink before the call.
            error: of the call.
            taken: results that it took.
            refused: results that it did not take if it failed.
        """
        held, lost = self._sink.held - before[0], self._sink.lost - before[1]
        sent = taken - held - lost
        if error is None:
            self._counter.add(sent=sent, waiting=held, dropped=lost)
        else:
            self._counter.add(
                _reason(error), sent=sent, waiting=held, dropped=lost + refused, retries=1
            )
        if sent > 0:
            self._backoff.reset()


def _reason(error: InputError) -> str:
    return f"{error.what}: {error.got}" if error.got else error.what
