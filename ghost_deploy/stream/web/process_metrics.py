"""Memory, CPU time and open files of this process, as Linux tells them, for Prometheus."""

from __future__ import annotations

import functools
import os
import resource
from collections.abc import Iterator
from pathlib import Path

_SELF = Path("/proc/self")
_AFTER_NAME = b") "
# Fields of /proc/PID/stat behind the name, from 0: proc_pid_stat(5).
_UTIME, _STIME, _THREADS, _START, _VSIZE, _RSS = 11, 12, 17, 19, 20, 21


def process_lines(folder: Path = _SELF) -> Iterator[str]:
    """Lines of the text format, with the names that Prometheus' own clients use.

    Args:
        folder: of the process in `/proc`; where it cannot be read, there are no lines.
    """
    try:
        raw = (folder / "stat").read_bytes()
        files = len(os.listdir(folder / "fd"))
    except OSError:
        return
    # A name may hold blanks and brackets.
    fields = [0, *map(int, raw.rpartition(_AFTER_NAME)[2].split()[1:])]
    ticks = os.sysconf("SC_CLK_TCK")
    rows = (
        ("cpu_seconds_total", "counter", "CPU time.", (fields[_UTIME] + fields[_STIME]) / ticks),
        ("resident_memory_bytes", "gauge", "Memory in RAM.", fields[_RSS] * resource.getpagesize()),
        ("virtual_memory_bytes", "gauge", "Address space.", fields[_VSIZE]),
        ("start_time_seconds", "gauge", "Unix time of start.", _boot_s() + fields[_START] / ticks),
        ("open_fds", "gauge", "Open files.", files),
        ("max_fds", "gauge", "Limit of open files.", resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        ("threads", "gauge", "Threads.", fields[_THREADS]),
    )
    for name, kind, text, value in rows:
        yield f"# HELP process_{name} {text}"
        yield f"# TYPE process_{name} {kind}"
        yield f"process_{name} {float(value):.17g}"


@functools.cache
def _boot_s() -> float:
    """Unix time at which the machine was started; 0 if it is unknown."""
    try:
        lines = Path("/proc/stat").read_bytes().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith(b"btime ")), 0.0)
