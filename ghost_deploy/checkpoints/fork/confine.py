"""The program that starts the child of `--fork`: namespaces, limits, a filter, then the code.

    python -I -c BOOT SETTINGS

reads requests from standard input and writes replies to standard output. This process enters the
namespaces and starts the one that runs the code: the first of its process namespace, so that with
it everything in there ends. Whatever the code prints goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

from ghost_deploy.checkpoints.fork import namespaces
from ghost_deploy.checkpoints.fork.syscall_filter import install_filter

_KILL_S = 5.0

READY, REFUSED = b"ready\n", b"refused "
"""The first line of standard output: the code is run now, or the step that the kernel refused."""

SIGNALED = 128
"""An exit code above it is that plus the number of the signal that ended the code."""


def main() -> None:
    """Run the module that the settings name, confined as they say."""
    settings = json.loads(sys.argv[1])
    parent = os.getppid()
    requests, replies = _take_over_pipes()
    if settings["confined"]:
        _attempt(namespaces.enter_namespaces, replies)
        with open("/proc/self/oom_score_adj", "w") as file:  # the first to go if memory runs out
            file.write("1000")
    namespaces.die_with_parent(signal.SIGKILL if settings["confined"] else signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)
    child = os.fork()
    if child == 0:
        _become_child(settings, requests, replies)
    if not settings["confined"]:
        namespaces.adopt_orphans()
        signal.signal(signal.SIGTERM, lambda *_: _end_all())
    os.close(requests)
    os.close(replies)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if not settings["confined"]:
        _kill_children()
    os._exit(code if code >= 0 else SIGNALED - code)


def _end_all() -> None:
    _kill_children()
    os._exit(1)


def _kill_children() -> None:
    """End what the code has started without a process namespace; orphans come to this process."""
    end_s = time.monotonic() + _KILL_S
    while time.monotonic() < end_s:
        children = list(_children())
        if not children:
            return
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _children() -> Iterator[int]:
    """Processes whose parent is this one."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            if file.read().rpartition(")")[2].split()[1] == str(os.getpid()):
                yield int(name)


def _take_over_pipes() -> tuple[int, int]:
    """Descriptors of requests and replies; what the code prints goes to standard error."""
    requests, replies = os.dup(0), os.dup(1)
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _become_child(settings: dict[str, Any], requests: int, replies: int) -> None:
    namespaces.die_with_parent(signal.SIGKILL)
    if settings["confined"]:
        os.setsid()  # else a signal to its process group would reach outside
        _attempt(
            lambda: namespaces.enter_file_system(settings["visible"], settings["scratch_bytes"]),
            replies,
        )
        _attempt(namespaces.drop_capabilities, replies)
    namespaces.limit_resources(
        settings["memory_bytes"], settings["cpu_s"], settings["scratch_bytes"]
    )
    if settings["confined"]:
        namespaces.die_with_parent(signal.SIGKILL)  # forgotten with the capabilities
        _attempt(install_filter, replies)
    os.write(replies, READY)
    sys.path[:] = settings["path"]
    sys.argv[:] = [""]
    try:
        program = importlib.import_module(settings["module"])
        program.main(requests, replies, settings["folders"])
    finally:
        sys.stderr.flush()
    os._exit(0)


def _attempt(step: Any, replies: int) -> None:
    """Do a step; without it, say so and end."""
    try:
        step()
    except OSError as error:
        os.write(replies, REFUSED + str(error.strerror).encode()[:500] + b"\n")
        os._exit(1)
