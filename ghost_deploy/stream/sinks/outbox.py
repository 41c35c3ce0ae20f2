"""A bounded queue of messages to a server that may be slow or unreachable."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ghost_deploy.stream.backoff import Backoff
from ghost_deploy.stream.sinks.sink import DeliveryCounter, DeliveryStats


@dataclass(frozen=True)
class Answer:
    """The outcome of one attempt to deliver a message.

    Attributes:
        kind: `taken`; `later`, if another attempt may succeed; `refused`, if none will.
        reason: of a failure, without credentials.
    """

    kind: Literal["taken", "later", "refused"]
    reason: str = ""


class Outbox:
    """A queue in memory and a thread that delivers it in order, with retries.

    A full queue drops its oldest message. The waits between attempts are those of `Backoff`.

    Args:
        deliver: makes one attempt; called from the thread, must end in bounded time.
        capacity: messages held at most.
        first_wait_s, longest_wait_s: limits of the wait after a failed attempt, seconds.
        grace_s: how long `close` continues to deliver, seconds, besides an attempt under way.
    """

    def __init__(
        self,
        deliver: Callable[[bytes], Answer],
        *,
        capacity: int = 256,
        first_wait_s: float = 0.5,
        longest_wait_s: float = 30.0,
        grace_s: float = 2.0,
    ) -> None:
        self._deliver = deliver
        self._capacity = capacity
        self._backoff = Backoff(first_wait_s, longest_wait_s)
        self._grace_s = grace_s
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._counter = DeliveryCounter()
        self._end_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: bytes) -> None:
        """Queue one message without waiting; after `close` it is dropped."""
        with self._changed:
            if self._end_at is not None:
                self._counter.add(dropped=1)
                return
            self._queue.append(message)
            self._counter.add(waiting=1)
            if len(self._queue) > self._capacity:
                self._queue.popleft()
                self._counter.add(waiting=-1, dropped=1)
            self._changed.notify()

    def stats(self) -> DeliveryStats:
        """Return the counters now; any thread may call it."""
        return self._counter.stats()

    def close(self) -> None:
        """Deliver what waits, for `grace_s` at most; the rest is counted as dropped."""
        with self._changed:
            if self._end_at is None:
                self._end_at = time.monotonic() + self._grace_s
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while (message := self._next()) is not None:
            answer = self._deliver(message)
            with self._changed:
                if answer.kind == "taken":
                    self._counter.add(waiting=-1, sent=1)
                    self._backoff.reset()
                elif answer.kind == "refused":
                    self._counter.add(waiting=-1, dropped=1, error=answer.reason)
                else:
                    self._put_back(message, answer.reason)
                    self._pause(self._backoff.delay())

    def _next(self) -> bytes | None:
        """Wait for the oldest message; None at the end."""
        with self._changed:
            while not self._queue and self._end_at is None:
                self._changed.wait()
            if self._queue and not self._is_over():
                return self._queue.popleft()
            self._counter.add(waiting=-len(self._queue), dropped=len(self._queue))
            self._queue.clear()
            return None

    def _put_back(self, message: bytes, reason: str) -> None:
        if len(self._queue) < self._capacity:
            self._queue.appendleft(message)
            self._counter.add(retries=1, error=reason)
        else:
            self._counter.add(waiting=-1, dropped=1, error=reason)

    def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the grace; new messages do not end the wait."""
        until = time.monotonic() + seconds
        while True:
            end = until if self._end_at is None else min(until, self._end_at)
            left = end - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _is_over(self) -> bool:
        return self._end_at is not None and time.monotonic() >= self._end_at
