"""Messages on their way to a server that may be slow or away: never waits, holds only so many."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Answer", "DeliveryStats", "Outbox"]


@dataclass(frozen=True)
class Answer:
    """What became of one attempt to deliver a message.

    Attributes:
        kind: `taken`; `later`, when another attempt may succeed; `refused`, when none will.
        reason: why not, without credentials; empty when it was taken.
    """

    kind: Literal["taken", "later", "refused"]
    reason: str = ""


@dataclass(frozen=True)
class DeliveryStats:
    """The counters of a delivery at one moment.

    Every message is `sent`, `dropped` or `waiting`.

    Attributes:
        sent: taken by the server.
        dropped: refused, pushed out of a full spool, or left at the end.
        waiting: in the spool or under way.
        retries: attempts that failed and were made again or will be.
        last_error: of the last attempt that failed, without credentials.
        stuck: what is under way has taken so long that others are not waiting for it any more.
    """

    sent: int = 0
    dropped: int = 0
    waiting: int = 0
    retries: int = 0
    last_error: str = ""
    stuck: bool = False


class Outbox:
    """A spool in memory and a thread that delivers it in order, again and again until taken.

    A full spool loses its oldest message. Waits between attempts double up to a limit, with
    "full jitter" (M. Brooker, Exponential Backoff and Jitter, AWS Architecture Blog, 2015).

    Args:
        deliver: makes one attempt; called from the thread, must end in bounded time.
        capacity: messages held at most.
        first_wait_s, longest_wait_s: limits of the wait after a failed attempt, seconds.
        grace_s: how long `close` keeps trying, seconds, besides an attempt under way.
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
        self._first_wait_s = first_wait_s
        self._longest_wait_s = longest_wait_s
        self._grace_s = grace_s
        self._changed = threading.Condition()
        self._spool: deque[bytes] = deque()
        self._stats = DeliveryStats()
        self._end_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: bytes) -> None:
        """Hand over one message; never waits. After `close` it is dropped."""
        with self._changed:
            if self._end_at is not None:
                self._count(dropped=1)
                return
            self._spool.append(message)
            self._count(waiting=1)
            if len(self._spool) > self._capacity:
                self._spool.popleft()
                self._count(waiting=-1, dropped=1)
            self._changed.notify()

    def stats(self) -> DeliveryStats:
        """The counters now. Any thread may ask."""
        with self._changed:
            return self._stats

    def close(self) -> None:
        """Deliver what waits, for as long as the grace allows; the rest is counted as dropped."""
        with self._changed:
            if self._end_at is None:
                self._end_at = time.monotonic() + self._grace_s
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        wait_s = self._first_wait_s
        while (message := self._next()) is not None:
            answer = self._deliver(message)
            with self._changed:
                if answer.kind == "taken":
                    self._count(waiting=-1, sent=1)
                    wait_s = self._first_wait_s
                elif answer.kind == "refused":
                    self._count(waiting=-1, dropped=1, error=answer.reason)
                else:
                    self._put_back(message, answer.reason)
                    self._pause(random.uniform(0, wait_s))
                    wait_s = min(2 * wait_s, self._longest_wait_s)

    def _next(self) -> bytes | None:
        """The oldest message, waited for; None when it is time to end."""
        with self._changed:
            while not self._spool and self._end_at is None:
                self._changed.wait()
            if self._spool and not self._is_over():
                return self._spool.popleft()
            self._count(waiting=-len(self._spool), dropped=len(self._spool))
            self._spool.clear()
            return None

    def _put_back(self, message: bytes, reason: str) -> None:
        if len(self._spool) < self._capacity:
            self._spool.appendleft(message)
            self._count(retries=1, error=reason)
        else:
            self._count(waiting=-1, dropped=1, error=reason)

    def _pause(self, seconds: float) -> None:
        """Wait, though no longer than the grace; new messages do not cut it short."""
        until = time.monotonic() + seconds
        while True:
            end = until if self._end_at is None else min(until, self._end_at)
            left = end - time.monotonic()
            if left <= 0:
                return
            self._changed.wait(left)

    def _is_over(self) -> bool:
        return self._end_at is not None and time.monotonic() >= self._end_at

    def _count(
        self,
        *,
        sent: int = 0,
        dropped: int = 0,
        waiting: int = 0,
        retries: int = 0,
        error: str = "",
    ) -> None:
        now = self._stats
        self._stats = DeliveryStats(
            sent=now.sent + sent,
            dropped=now.dropped + dropped,
            waiting=now.waiting + waiting,
            retries=now.retries + retries,
            last_error=error or now.last_error,
        )
