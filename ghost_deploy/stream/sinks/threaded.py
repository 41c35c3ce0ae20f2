"""Keep a sink that hangs from delaying the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.retrying import RetryingSink
from ghost_deploy.stream.sinks.sink import CountingSink, DeliveryStats

_ROOM = 4
_PATIENCE_S = 2.0
_END_S = 5.0


class ThreadedSink(CountingSink):
    """Passes results to a sink in a thread of its own.

    A slow sink is waited for, so that it gets all results. One that accepts nothing for
    `patience_s`, e.g. on a disk that hangs, loses results, which are counted, until it does again.

    Args:
        sink: used only from the new thread, except for its statistics.
        patient: wait without limit, for sources that are not live.
        patience_s: see above, seconds.
        end_s: how long `close` waits for the sink, seconds; then it is abandoned.
    """

    def __init__(
        self,
        sink: RetryingSink,
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
        """Queue one result, or count it as lost.

        Raises:
            Exception: an unexpected error of the sink.
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
        """Return the counters of the sink, with the results that it was not given."""
        inner = self._sink.stats()
        with self._changed:
            stuck = self._is_stuck()
            return replace(
                inner,
                dropped=inner.dropped + self._lost,
                waiting=inner.waiting + len(self._waiting) + (self._since is not None),
                last_error="it hangs" if stuck else inner.last_error,
                stuck=stuck,
            )

    def close(self) -> None:
        """Write what waits and close the sink; a sink that hangs is abandoned.

        Raises:
            Exception: an unexpected error of the sink.
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
        # An unexpected error must reach the caller of the run.
        except Exception as error:
            with self._changed:
                self._error = error
        finally:
            with self._changed:
                self._since = None
                self._changed.notify_all()

    def _next(self) -> Result | None:
        """Wait for the oldest result; None at the end."""
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
