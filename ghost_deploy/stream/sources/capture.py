"""Keep one source alive: open it, read it, open it again after a loss."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ghost_deploy.core.errors import GhostDeployError, InputError, UnavailableError
from ghost_deploy.stream.counters import SourceBook
from ghost_deploy.stream.mailbox import Mailboxes, Pending
from ghost_deploy.stream.malloc import give_back
from ghost_deploy.stream.policy import Backoff, LivePolicy, MotionGate, RateLimit
from ghost_deploy.stream.result import Cause, State
from ghost_deploy.stream.sources.reader import Loader, Reader
from ghost_deploy.stream.sources.uri import Source

__all__ = ["Capture"]

_GRACE_S = 2.0
"""How much longer than its own timeout a call into a library may last before it is given up."""

_MOST_HUNG = 3
_HEALTHY_S = 5.0
"""A source that was live for so long starts again with the first delay when it is lost."""


class Capture:
    """A thread that reads one source and puts its frames into the source's mailbox.

    `error` is set when it ended by a mistake; `rate`, once a video is open, to its frames a second.

    A call into a library that does not come back cannot be ended from outside. `watch` sees it,
    leaves its thread behind and starts another; the frame of a thread left behind is ignored.

    Args:
        number: of the source, in `mailboxes`.
        source: what to read.
        opener: opens it; raises `InputError` when it is not there now.
        mailboxes: where frames go.
        book: where they are counted.
        policy: which frames go there.
    """

    def __init__(
        self,
        number: int,
        source: Source,
        opener: Callable[[], Reader],
        mailboxes: Mailboxes,
        book: SourceBook,
        policy: LivePolicy,
    ) -> None:
        self.source = source
        self.book = book
        self.error: Exception | None = None
        self.rate: float | None = None
        self._number = number
        self._opener = opener
        self._mailboxes = mailboxes
        self._policy = policy
        self._backoff = Backoff(*policy.retry_s)
        self._rate = RateLimit(policy.every, policy.fps)
        self._gate = MotionGate() if policy.skip_still else None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._generation = 0
        self._deadline: float | None = None  # of the call into a library that is under way
        self._lost_since = self._live_since = time.monotonic()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to read."""
        name = f"capture {self.book.id}"
        thread = threading.Thread(target=self._run, args=(self._generation,), name=name)
        # A thread that hangs in a library must not keep the process from ending.
        thread.daemon = True
        self._threads.append(thread)
        thread.start()

    def watch(self) -> None:
        """Replace a thread that hangs. Call it a few times a second."""
        with self._lock:
            deadline = self._deadline
            if deadline is None or time.monotonic() < deadline or self._stop.is_set():
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if len(self._threads) > _MOST_HUNG:
                return
            self._generation += 1
            self._deadline = None
        why = "the library that reads it hangs"
        if not self.source.is_live:
            self._end("failed", why)
        elif not self._lose(why):
            self.start()

    def stop(self) -> None:
        """Read no more; a thread that waits for its next attempt ends at once."""
        self._stop.set()

    def join(self, deadline: float) -> None:
        """Wait for the thread that reads until `deadline` on the monotonic clock.

        Threads that were left behind are not waited for: they hang.
        """
        if self._threads:
            self._threads[-1].join(max(0.0, deadline - time.monotonic()))

    def fail(self, error: GhostDeployError) -> None:
        """The source cannot be used: read no more of it."""
        self._stop.set()
        self._end("failed", _told(error))

    def _run(self, generation: int) -> None:
        try:
            while self._is_current(generation) and not self._attempt(generation):
                self._stop.wait(self._backoff.delay())
        # Whatever a vendor or a mistake of ours raises must reach the one who waits for results.
        except Exception as error:
            if self._is_current(generation):
                self.error = error
                self._end("failed", type(error).__name__)

    def _attempt(self, generation: int) -> bool:
        """Read until the source is lost (False) or over (True)."""
        try:
            self._read(generation)
        except UnavailableError as error:
            self._end("failed", error.what)
        except InputError as error:
            if not self._leave_library(generation) or self._stop.is_set():
                return True
            if self.source.is_live:
                return self._lose(_told(error))
            self._end("failed", _told(error))
        return True

    def _read(self, generation: int) -> None:
        """Open the source and take frames in until it ends, or until somebody else reads it."""
        # To open a stream is to wait for its first frame too.
        limit = self._policy.open_timeout_s + self._policy.read_timeout_s
        self._enter_library(generation, limit)
        reader = self._opener()
        self.rate = reader.rate
        try:
            while self._is_current(generation):
                self._enter_library(generation, self._policy.read_timeout_s)
                t_ns = reader.grab()
                if not self._leave_library(generation):
                    return
                if t_ns is None:
                    self._end("ended")
                    return
                self._take_in(reader, t_ns)
        finally:
            reader.close()
            if self.source.is_live:
                give_back()

    def _take_in(self, reader: Reader, t_ns: int) -> None:
        """Count the frame that was grabbed, and put it into the mailbox unless it is dropped."""
        if self.book.state != "live":
            self._live_since = time.monotonic()
        index = self.book.captured(t_ns)
        if not self._rate.admits(t_ns):
            self.book.dropped("skipped")
            return
        load = reader.load()
        if self._gate and (cause := self._gated(self._gate, load)):
            self.book.dropped(cause)
            return
        item = Pending(index, t_ns, load)
        if self.source.is_live:
            replaced = self._mailboxes.put_latest(self._number, item)
            if replaced is not None:
                self.book.dropped("stopped" if replaced is item else "newer")
        elif not self._mailboxes.put_in_turn(self._number, item):
            self.book.dropped("stopped")

    def _gated(self, gate: MotionGate, load: Loader) -> Cause | None:
        try:
            return "still" if gate.is_still(load()) else None
        except InputError:
            return "broken"

    def _lose(self, why: str) -> bool:
        """Enter the state `lost`, or `failed` (True) if that has lasted too long."""
        now = time.monotonic()
        if self.book.state == "live":
            self._lost_since = now
            if now - self._live_since > _HEALTHY_S:
                self._backoff.reset()
        give_up = self._policy.give_up_s
        if give_up is not None and now - self._lost_since >= give_up:
            self._end("failed", why)
            return True
        self.book.enter("lost", why)
        return False

    def _end(self, state: State, why: str = "") -> None:
        self.book.enter(state, why)
        self._mailboxes.finish(self._number)

    def _is_current(self, generation: int) -> bool:
        with self._lock:
            return self._generation == generation and not self._stop.is_set()

    def _enter_library(self, generation: int, timeout_s: float) -> None:
        with self._lock:
            if self._generation == generation:
                self._deadline = time.monotonic() + timeout_s + _GRACE_S

    def _leave_library(self, generation: int) -> bool:
        """Whether the thread of that generation was not left behind in the meantime."""
        with self._lock:
            if self._generation != generation:
                return False
            self._deadline = None
            return True


def _told(error: GhostDeployError) -> str:
    return str(error.got or error.what)
