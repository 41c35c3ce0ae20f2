"""Runs one command on the board and ends it, with all its children, when the line breaks.

This source is sent over the line and executed by the board's Python, so it imports the standard
library alone. On standard input follow one line of JSON, the request, and then a line feed every
few seconds for as long as somebody waits for the result. When standard input ends or is silent,
the command gets SIGINT, and what lives on after `grace_s` is killed.

Standard output holds a mark, the command's own output, and the mark again with its exit code; on
standard error a mark comes before its messages. So a shell that prints a greeting, and a line that
breaks, are recognized.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

_SUBREAPER, _PDEATHSIG = 36, 1  # linux/prctl.h
_POLL_S = 1.0
_UNKILLABLE_S = 10.0  # e.g. a process that waits for a driver
_MISSING, _REFUSED = 127, 126


def main() -> int:
    """Run the command of the request; its exit code."""
    request = json.loads(_read_line())
    mark = request["mark"].encode()
    # What was forked away from the command becomes a child of this process and is ended too.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    ended, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: stops.append(1))
    _write(b"\n" + mark + b"\n")
    print("\n" + request["mark"], file=sys.stderr, flush=True)
    child = _start(request)
    code = child if isinstance(child, int) else _wait(child, ended, request, stops)
    _end_descendants()
    _write(b"\n" + mark + b" " + str(code).encode() + b"\n")
    return code


def _read_line() -> bytes:
    """The request; it may be longer than the buffer of a pipe."""
    line = sys.stdin.buffer.readline()
    if not line.endswith(b"\n"):
        raise SystemExit(_REFUSED)
    return line


def _write(data: bytes) -> None:
    with contextlib.suppress(OSError):  # the line is gone
        while data:
            data = data[os.write(1, data) :]


def _start(request: dict[str, Any]) -> subprocess.Popen[bytes] | int:
    def end_with_this() -> None:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    words = [sys.executable if word == "{python}" else word for word in request["words"]]
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            cwd=request.get("cwd") or None,
            env={**os.environ, **request.get("env", {})},
            start_new_session=True,
            preexec_fn=end_with_this,  # noqa: PLW1509 - there are no threads here
        )
    except OSError as error:
        print(f"{words[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return _MISSING


def _wait(
    child: subprocess.Popen[bytes], ended: int, request: dict[str, Any], stops: list[int]
) -> int:
    """Wait for the end of the command, or end it; its exit code, as a shell tells it."""
    heard = time.monotonic()
    kill_at: float | None = None
    watched = [0, ended]
    while child.poll() is None:
        now = time.monotonic()
        if kill_at is None and (stops or now - heard > request["silence_s"]):
            kill_at = now + request["grace_s"]
            _signal_group(child.pid, signal.SIGINT)
        if kill_at is not None and now > kill_at:
            _signal_group(child.pid, signal.SIGKILL)
            _kill_descendants()
        ready, _, _ = select.select(watched, [], [], _POLL_S)
        if ended in ready:
            with contextlib.suppress(OSError):
                os.read(ended, 4096)
        if 0 in ready:
            heard = time.monotonic()
            if not os.read(0, 4096):
                watched.remove(0)
                stops.append(1)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, number)


def _kill_descendants() -> None:
    """Kill everything that descends from this process."""
    for pid in _children_of(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _end_descendants() -> None:
    """Kill what is left of the command, and what that starts meanwhile, until nothing is left."""
    give_up = time.monotonic() + _UNKILLABLE_S
    while _children_of(os.getpid()) and time.monotonic() < give_up:
        _kill_descendants()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _children_of(parent: int) -> list[int]:
    """All processes below one, as /proc has them; none where there is no /proc."""
    parents: dict[int, int] = {}
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    for name in filter(str.isdecimal, names):
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name of the program, in parentheses, may hold anything.
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if fields[0] != b"Z":
            parents[int(name)] = int(fields[1])
    found: list[int] = []
    fresh = [parent]
    while fresh:
        fresh = [pid for pid, above in parents.items() if above in fresh and pid not in found]
        found += fresh
    return found


if __name__ == "__main__":
    sys.exit(main())
