"""The machine at the moment of a measurement: hardware, versions and load."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from ghost_deploy._version import __version__
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.judge.bench.read_machine import read_machine
from ghost_deploy.runtimes.cpu_cores import cpu_quota

_PACKAGES = (
    *("numpy", "opencv-python-headless", "opencv-python", "onnxruntime", "onnxruntime-gpu"),
    *("openvino", "ncnn", "tensorrt", "torch"),
)
_QUERY_LIMIT_S = 10


def take_snapshot(root: Path = Path("/")) -> Snapshot:
    """Describe this machine now.

    Args:
        root: where `proc`, `sys` and `etc` are; another one in tests.
    """
    found = root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    return Snapshot(
        measured_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=read_machine(root),
        cpu_quota=cpu_quota(root / "sys"),
        governors=tuple(sorted({path.read_text().strip() for path in found})),
        load_before=_load(root / "proc/loadavg"),
        power_mode=parse_power_mode(_output("nvpmodel", "-q")),
        packages={"ghost-deploy": __version__, **_versions()},
    )


def others_load(root: Path = Path("/")) -> float | None:
    """At least so many CPUs were busy with other programs in the last minute; None if unknown.

    The processor time of this process and its children is subtracted, as if all of it fell into
    that minute.
    """
    load, spent = _load(root / "proc/loadavg"), os.times()
    own_s = spent.user + spent.system + spent.children_user + spent.children_system
    return None if load is None else max(0.0, load - own_s / 60)


def parse_power_mode(text: str) -> str:
    """The mode that `nvpmodel -q` names, e.g. `15W` of `NV Power Mode: 15W`; empty for none."""
    found = re.search(r"^NV Power Mode:[ \t]*(.*\S)", text, re.MULTILINE)
    return found[1] if found else ""


def _load(path: Path) -> float | None:
    try:
        return float(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _output(command: str, *words: str) -> str:
    """The output of a program; empty where it is not installed or does not answer."""
    program = shutil.which(command)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *words],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_QUERY_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
