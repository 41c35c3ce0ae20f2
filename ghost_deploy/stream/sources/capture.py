"""Read one source in a thread, and open it again after a loss."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

from ghost_deploy.core.errors import GhostDeployError, InputError, UnavailableError
from ghost_deploy.stream.backoff import Backoff
from ghost_deploy.stream.frame_gates import MotionGate, RateLimit
from ghost_deploy.stream.mailbox import Mailboxes, Pending
from ghost_deploy.stream.malloc import return_free_memory
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.source_stats import Cause, SourceCounters, State
from ghost_deploy.stream.sources.reader import Loader, Reader
from ghost_deploy.stream.sources.source_table import SourceAddress

_GRACE_S = 2.0
"""How long a call into a library may exceed its own timeout before it is abandoned."""

_POLL_S = 0.1
_MOST_HUNG = 3
_HEALTHY_S = 5.0
"""After that time live, the delays between attempts start again with the first."""


class Capture:
    """A thread that reads one source and puts its frames into the source's mailbox.

    `error` is set after an unexpected error, `time_base` to that of an open video, seconds, and
    `is_live` to whether the open source turned out to be live.

    A call into a library that does not return cannot be ended from outside. `watch` detects it,
    abandons its thread and starts another; frames of an abandoned thread are ignored.

    Args:
        number: of the source, in `mailboxes`.
        source: what to read.
        opener: opens it; raises `InputError` if it does not answer.
        mailboxes: for the frames.
        policy: the settings.
        turns: how many videos are open at a time.
    """

    def __init__(
        self,
        number: int,
        source: SourceAddress,
        opener: Callable[[], Reader],
        mailboxes: Mailboxes,
        policy: LivePolicy,
        turns: threading.Semaphore | None = None,
    ) -> None:
        self.source = source
        self.counters = SourceCounters(
            str(number), source.label, stalled_after_s=policy.read_timeout_s
        )
        self.error: Exception | None = None
        self.time_base: Fraction | None = None
        self.is_live = source.is_live
        self._number = number
        self._opener = opener
        self._mailboxes = mailboxes
        self._policy = policy
        self._turns = None if source.is_live else turns
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
        name = f"capture {self.counters.id}"
        thread = threading.Thread(target=self._run, args=(self._generation,), name=name)
        # A thread that hangs in a library must not keep the process from ending.
        thread.daemon = True
        self._threads.append(thread)
        thread.start()

    def watch(self) -> None:
        """Replace a thread that hangs; to be called several times a second."""
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
        if not self.is_live:
            self._end("failed", why)
        elif not self._lose(why):
            self.start()

    def stop(self) -> None:
        """Stop reading; a thread that waits for its next attempt ends at once."""
        self._stop.set()

    def join(self, deadline: float) -> None:
        """Wait for the reading thread until `deadline` on the monotonic clock.

        Abandoned threads are not waited for: they hang.
        """
        if self._threads:
            self._threads[-1].join(max(0.0, deadline - time.monotonic()))

    def fail(self, error: GhostDeployError) -> None:
        """Stop reading a source that cannot be used."""
        self._stop.set()
        self._end("failed", _reason(error))

    def _run(self, generation: int) -> None:
        try:
            with self._turn():
                while self._is_current(generation) and not self._attempt(generation):
                    self._stop.wait(self._backoff.delay())
        # Any error, also of a vendor's library, must reach the caller of the run.
        except Exception as error:
            if self._is_current(generation):
                self.error = error
                self._end("failed", type(error).__name__)

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until this one may be open: a folder may hold thousands of videos."""
        if self._turns is None:
            yield
            return
        while not self._turns.acquire(timeout=_POLL_S):
            if self._stop.is_set():
                yield
                return
        try:
            yield
        finally:
            self._turns.release()

    def _attempt(self, generation: int) -> bool:
        """Read until the source is lost (False) or over (True)."""
        try:
            self._read(generation)
        except UnavailableError as error:
            self._end("failed", error.what)
        except InputError as error:
            if not self._leave_library(generation) or self._stop.is_set():
                return True
            if self.is_live:
                return self._lose(_reason(error))
            self._end("failed", _reason(error))
        return True

    def _read(self, generation: int) -> None:
        """Open the source and read until it ends or another thread has replaced this one."""
        # Opening includes the wait for the first frame.
        limit = self._policy.open_timeout_s + self._policy.read_timeout_s
        self._enter_library(generation, limit)
        reader = self._opener()
        self.time_base = reader.time_base
        self.counters.duration_s = reader.duration_s
        self.is_live = self.source.is_live if reader.is_live is None else reader.is_live
        try:
            while self._is_current(generation):
                if reader.pause_s and self._pause(generation, reader.pause_s):
                    return
                self._enter_library(generation, self._policy.read_timeout_s)
                t_ns = reader.grab()
                if not self._leave_library(generation):
                    return
                if t_ns is None:
                    self.counters.missed(reader.missing)
                    self._end("ended")
                    return
                self._take_in(reader, t_ns)
        finally:
            reader.close()
            if self.is_live:
                return_free_memory()

    def _pause(self, generation: int, seconds: float) -> bool:
        """Whether the run was stopped meanwhile."""
        self._leave_library(generation)
        return self._stop.wait(seconds)

    def _take_in(self, reader: Reader, t_ns: int) -> None:
        """Count the grabbed frame, and put it into the mailbox unless it is dropped."""
        if self.counters.state != "live":
            self._live_since = time.monotonic()
        index = self.counters.captured(t_ns)
        if reader.is_broken:
            self.counters.dropped("broken")
            return
        # Of a video, the rate is that of its own time.
        at_s = reader.position_s
        if not self._rate.admits(t_ns if at_s is None else round(at_s * 1e9)):
            self.counters.dropped("skipped")
            return
        load = reader.load()
        if self._gate and (cause := self._gated(self._gate, load)):
            self.counters.dropped(cause)
            return
        item = Pending(index, t_ns, load, reader.position_s, reader.name)
        if self.is_live:
            replaced = self._mailboxes.put_latest(self._number, item)
            if replaced is not None:
                self.counters.dropped("stopped" if replaced is item else "newer")
        elif not self._mailboxes.put_in_turn(self._number, item):
            self.counters.dropped("stopped")

    def _gated(self, gate: MotionGate, load: Loader) -> Cause | None:
        try:
            return "still" if gate.is_still(load()) else None
        except InputError:
            return "broken"

    def _lose(self, why: str) -> bool:
        """Enter the state `lost`, or `failed` (True) if that has lasted too long."""
        now = time.monotonic()
        if self.counters.state == "live":
            self._lost_since = now
            if now - self._live_since > _HEALTHY_S:
                self._backoff.reset()
        give_up = self._policy.give_up_s
        if give_up is not None and now - self._lost_since >= give_up:
            self._end("failed", why)
            return True
        self.counters.enter("lost", why)
        return False

    def _end(self, state: State, why: str = "") -> None:
        self.counters.enter(state, why)
        self._mailboxes.finish(self._number)

    def _is_current(self, generation: int) -> bool:
        with self._lock:
            return self._generation == generation and not self._stop.is_set()

    def _enter_library(self, generation: int, timeout_s: float) -> None:
        with self._lock:
            if self._generation == generation:
                self._deadline = time.monotonic() + timeout_s + _GRACE_S

    def _leave_library(self, generation: int) -> bool:
        """Whether the thread of that generation has not been abandoned meanwhile."""
        with self._lock:
            if self._generation != generation:
                return False
            self._deadline = None
            return True


def _reason(error: GhostDeployError) -> str:
    return str(error.got or error.what)
