"""Memory that this process uses, as its kernel counts it."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def peak_memory_bytes(status: Path = Path("/proc/self/status")) -> int:
    """The largest resident memory of this process so far; 0 where the system does not report it.

    `VmHWM` is that of this program. `getrusage` would also count its parent's, which it was until
    it was replaced by this program (Linux keeps `maxrss` over `exec`).
    """
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    except OSError:
        return _from_rusage()
    return int(found[1]) * 1024 if found else 0


def _from_rusage() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, KiB elsewhere
