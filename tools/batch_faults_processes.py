"""Processes of a run over an archive, and how long is waited for them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from tools.batch_faults_workplace import ROOT
from tools.process_list import processes, processes_below

_WORKER = "ghost_deploy.batch.local_worker"
_ENDS_WITHIN_S = 60.0
"""On a quiet machine; on a busy one as much longer as there is work for its cores."""


def workers_of(driver: int, engine: str) -> list[int]:
    """The workers of a run: processes of the driver, or actors of Ray."""
    if engine == "ray":
        below = set(processes_below(os.getpid()))
        actors = (p for p in processes() if p.command.startswith("ray::"))
        return sorted(p.pid for p in actors if "MapWorker" in p.command and p.pid in below)
    return [p.pid for p in processes() if p.parent == driver and _WORKER in p.command]


def all_workers() -> list[int]:
    """The workers of all runs that were started in this checkout."""
    return [p.pid for p in processes() if _WORKER in p.command and p.folder == str(ROOT)]


def patience_s() -> float:
    """How long is waited for what ends at once on a quiet machine, seconds."""
    return _ENDS_WITHIN_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_until(is_so: Callable[[], object], seconds: float) -> bool:
    """Whether it became true in that time."""
    end_s = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True
