"""Tell systemd that the service is ready, alive and stopping.

The protocol of `sd_notify(3)`: datagrams of `NAME=value` lines to the socket `$NOTIFY_SOCKET`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence

from ghost_deploy.stream.source_stats import SourceStats

_SOCKET, _WATCHDOG, _WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_WORKS = frozenset({"live", "ended"})


class ServiceManager:
    """The service manager that started this process; without one, all methods do nothing.

    Its variables are taken out of the environment: child processes are not to answer for this one.

    Args:
        environment: of the process.
        now_s: monotonic, seconds.

    Attributes:
        watchdog_s: the process is restarted unless it says so often that it is alive; None if
            nothing is expected.
    """

    def __init__(
        self,
        environment: MutableMapping[str, str] = os.environ,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now_s = now_s
        address = environment.pop(_SOCKET, "")
        self._address = _abstract(address) if address[:1] in {"/", "@"} else ""
        pid = environment.pop(_WATCHDOG_PID, str(os.getpid()))
        usec = environment.pop(_WATCHDOG, "")
        is_ours = self._address and pid == str(os.getpid()) and usec.isdecimal() and int(usec) > 0
        self.watchdog_s = int(usec) / 1e6 if is_ours else None
        self._next_s = 0.0
        self._status = ""
        self._is_ready = False
        self._finished = 0

    def tick(self, sources: Sequence[SourceStats]) -> None:
        """To be called often while the pipeline runs; the first time the service is ready.

        The watchdog hears of it unless frames come and none is finished: a model that hangs, or a
        sink for which the pipeline waits, ends the process. A source that is lost is tried again
        and does not.
        """
        if not self._address:
            return
        works = sum(each.state in _WORKS for each in sources)
        status = f"{works} of {len(sources)} sources work"
        lines = []
        if not self._is_ready:
            lines.append("READY=1")
        if status != self._status:
            lines.append(f"STATUS={status}")
        if self.watchdog_s and self._now_s() >= self._next_s and self._is_alive(sources):
            lines.append("WATCHDOG=1")
            # Half of the time allowed, as sd_watchdog_enabled(3) recommends.
            self._next_s = self._now_s() + self.watchdog_s / 2
        if lines:
            self._send(*lines)
        self._is_ready, self._status = True, status

    def stopping(self) -> None:
        """The service ends; safe in a signal handler."""
        self._send("STOPPING=1")

    def _is_alive(self, sources: Sequence[SourceStats]) -> bool:
        """Whether a frame was finished since this was last so, or none is to be."""
        finished = _finished(sources)
        is_alive = finished > self._finished or _is_idle(sources)
        if is_alive:
            self._finished = finished
        return is_alive

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        # A manager that is gone or busy must not end or delay the run.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client,
        ):
            client.setblocking(False)
            client.sendto("\n".join(lines).encode(), self._address)


def _finished(sources: Sequence[SourceStats]) -> int:
    """Frames that the pipeline has done with; those replaced while they waited prove nothing."""
    return sum(
        each.processed + sum(each.dropped.values()) - each.dropped.get("newer", 0)
        for each in sources
    )


def _is_idle(sources: Sequence[SourceStats]) -> bool:
    """Whether no frame waits or is under way."""
    return all(each.captured <= each.processed + sum(each.dropped.values()) for each in sources)


def _abstract(address: str) -> str:
    """An address that begins with @ is in the abstract name space of Linux."""
    return "\0" + address[1:] if address.startswith("@") else address
