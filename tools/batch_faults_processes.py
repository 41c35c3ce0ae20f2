"""Processes of a run over an archive, and how long is waited for them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tools.batch_faults_workplace import ROOT
from tools.ray_nodes import processes_below

_ENDS_WITHIN_S = 60.0
"""On a quiet machine; on a busy one as much longer as there is work for its cores."""


def workers_of(driver: int, engine: str) -> list[int]:
    if engine == "ray":
        found = _pids(lambda line, _: line.startswith("ray::"), "MapWorker")
        return sorted({*found} & {*processes_below(os.getpid())})
    return _pids(lambda line, parent: parent == driver, "ghost_deploy.batch.local_worker")


def all_workers() -> list[int]:
    root = str(ROOT)
    return [
        pid
        for pid in _pids(lambda *_: True, "ghost_deploy.batch.local_worker")
        if _link(pid, "cwd") == root
    ]


def _pids(wanted: Any, text: str) -> list[int]:
    """Processes whose command holds a text, of all that this user may see."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if text in line and stat[0] != "Z" and wanted(line, int(stat[1])):
            found.append(int(entry.name))
    return found


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""


def patience_s() -> float:
    """How long is waited for what ends at once on a quiet machine, seconds."""
    return _ENDS_WITHIN_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def wait_until(is_so: Any, seconds: float) -> bool:
    end_s = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True
