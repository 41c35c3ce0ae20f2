"""Keep a sink that hangs from holding up the others."""

from __future__ import annotations

import threading
import time
from collections import deque

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.outbox import DeliveryStats
from ghost_deploy.stream.sinks.retrying import GuardedSink

__all__ = ["ApartSink"]

_ROOM = 4
_PATIENCE_S = 2.0
_END_S = 5.0


class ApartSink:
    """Hands results on to a sink in a thread of its own.

    A sink that is slow is waited for, so that it gets every result. One that takes nothing for
    `patience_s`, e.g. on a disk that hangs, loses results, which are counted, until it takes one.

    Args:
        sink: used from the new thread only, but for its statistics.
        patient: wait as long as it takes, for sources that are in no hurry.
        patience_s: see above, seconds.
        end_s: how long `close` waits for the sink, seconds; then it is left behind.
    """

    def __init__(
        self,
        sink: GuardedSink,
        *,
        patient: bool = False,
        patience_s: float = _PATIENCE_S,
        end_s: float = _END_S,
    ) -> None:
        self._sink = sink
        self._patient = patient
        self._patience_s = patience_s
        self._end_s = end_s
        self._changed = threading.Condition()
        self._waiting: deque[Result] = deque()
        self._since: float | None = None  # the call into the sink that is under way
        self._over = False
        self._lost = 0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="sink", daemon=True)
        self._thread.start()

    def write(self, result: Result) -> None:
        """Hand over one result, or count it as lost.

        Raises:
            Exception: a mistake in the sink, as it raised it.
        """
        with self._changed:
            if not self._is_stuck():
                self._changed.wait_for(self._has_room, None if self._patient else self._patience_s)
            if self._error:
                raise self._error
            if self._has_room():
                self._waiting.append(result)
                self._changed.notify_all()
            else:
                self._lost += 1

    def stats(self) -> DeliveryStats:
        """The counters of the sink and of what it was not given. Any thread may ask."""
        inner = self._sink.stats()
        with self._changed:
            stuck = self._is_stuck()
            return DeliveryStats(
                sent=inner.sent,
                dropped=inner.dropped + self._lost,
                waiting=len(self._waiting) + (self._since is not None),
                retries=inner.retries,
                last_error="it hangs" if stuck else inner.last_error,
                stuck=stuck,
            )

    def close(self) -> None:
        """Let the sink take what waits and close it; one that hangs is left behind.

        Raises:
            Exception: a mistake in the sink, as it raised it.
        """
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(self._end_s)
        with self._changed:
            if self._thread.is_alive():
                self._lost += len(self._waiting)
                self._waiting.clear()
            if self._error:
                raise self._error

    def _work(self) -> None:
        try:
            while (result := self._next()) is not None:
                self._sink.write(result)
            self._sink.close()
        # A mistake of a sink must reach the one who waits for the end of the run.
        except Exception as error:
            with self._changed:
                self._error = error
        finally:
            with self._changed:
                self._since = None
                self._changed.notify_all()

    def _next(self) -> Result | None:
        """The oldest result, waited for; None when it is time to end."""
        with self._changed:
            self._since = None
            self._changed.wait_for(lambda: self._waiting or self._over)
            self._since = time.monotonic()
            result = self._waiting.popleft() if self._waiting else None
            self._changed.notify_all()
            return result

    def _has_room(self) -> bool:
        return len(self._waiting) < _ROOM or self._error is not None

    def _is_stuck(self) -> bool:
        return self._since is not None and time.monotonic() - self._since > self._patience_s
