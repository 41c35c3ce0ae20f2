"""What the child of a fork's code is given: settings, limits, environment; and how it ended."""

from __future__ import annotations

import os
import signal

from ghost_deploy.checkpoints.fork.confine import SIGNALED
from ghost_deploy.checkpoints.fork.fork_folder import ForkFolder, environment_paths

CPU_S = 4 * 3600
"""Processor time of all threads together."""

SCRATCH_BYTES = 1 << 30
"""Size of the temporary folder, and of a file in it."""

_PROGRAM = "ghost_deploy.export.fork_child"
_KEPT_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_GIB = 1 << 30


def child_settings(fork: ForkFolder, confined: bool) -> dict[str, object]:
    """The settings of `confine`, plain values."""
    path, visible = environment_paths()
    return {
        "module": _PROGRAM,
        "confined": confined,
        "folders": fork.folders,
        "path": path,
        "visible": (*visible, *fork.visible),
        "memory_bytes": memory_limit(),
        "cpu_s": CPU_S,
        "scratch_bytes": SCRATCH_BYTES,
    }


def memory_limit() -> int:
    """Private memory that the child may take: half of the machine's, 4 to 32 GiB."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min(32 * _GIB, max(4 * _GIB, total // 2)))


def child_environment() -> dict[str, str]:
    """Nothing of the user's but the number of threads."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    folder = "/tmp"  # its own, where it is confined
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": folder,
        "TMPDIR": folder,
        "PYTHONDONTWRITEBYTECODE": "1",
        "YOLO_AUTOINSTALL": "False",
        "YOLO_OFFLINE": "True",
        "YOLO_VERBOSE": "False",
        "YOLO_CONFIG_DIR": folder,
        "MPLCONFIGDIR": folder,
        **kept,
    }


def ending(code: int) -> str:
    """How the child ended, from the exit code of `confine`."""
    number = code - SIGNALED if code > SIGNALED else -code
    names = {int(each): each.name for each in signal.Signals}
    if number in names:
        return f"it was ended by {names[number]}"
    return f"it ended with exit code {code}"


def printable(text: str) -> str:
    """A foreign text without what a terminal would obey, on one line."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in words)[:1500]
