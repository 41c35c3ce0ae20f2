"""Facts about the board as one JSON object; runs there, with the standard library alone.

Argument: our folder there. Nothing is written.
"""

from __future__ import annotations

import glob
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time

_QUERY_LIMIT_S = 10
_CPUINFO_BYTES = 8192


def main() -> int:
    """Print the facts."""
    place = sys.argv[1]
    free = shutil.disk_usage(_existing(place)).free
    facts = {
        "folder": place,
        "free_bytes": free,
        "home": os.path.expanduser("~"),
        "time_s": time.time(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "implementation": sys.implementation.name,
        "libc": _libc(),
        "architecture": platform.machine(),
        "bits": sys.maxsize.bit_length() + 1,
        "system": f"{platform.system()} {platform.release()}",
        "distribution": _distribution(),
        "model": _model(),
        "cpuinfo": _text("/proc/cpuinfo")[:_CPUINFO_BYTES],
        "temperature_c": _temperature(),
        "governors": _governors(),
        "power_mode": _power_mode(),
        "rsync": shutil.which("rsync") or "",
        "packages": [name for name in ("tensorrt", "cv2") if importlib.util.find_spec(name)],
    }
    print(json.dumps(facts))
    return 0


def _existing(path: str) -> str:
    """The nearest folder above that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(1 << 20).strip("\0 \n")
    except OSError:
        return ""


def _libc() -> str:
    """`glibc 2.36`, or `musl 1.2`."""
    name, version = platform.libc_ver()
    if name == "glibc" and version:
        return f"glibc {version}"
    loaders = glob.glob("/lib/ld-musl-*")
    if loaders:
        done = subprocess.run(
            [loaders[0]], capture_output=True, encoding="utf-8", errors="replace", check=False
        )
        found = re.search(r"Version (\d+\.\d+)", done.stderr)
        return f"musl {found[1] if found else '1.1'}"
    return ""


def _distribution() -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', _text("/etc/os-release"), re.MULTILINE)
    return found[1] if found else ""


def _model() -> str:
    """The name of the board: of its device tree, else what its firmware says."""
    if tree := _text("/proc/device-tree/model"):
        return tree
    vendor, product = (_text(f"/sys/class/dmi/id/{n}") for n in ("sys_vendor", "product_name"))
    empty = ("To Be Filled By O.E.M.", "Default string", "System Product Name")
    return " ".join(part for part in (vendor, product) if part and part not in empty)


def _temperature() -> float | None:
    """Of the hottest sensor, in degrees Celsius."""
    found = []
    for path in glob.glob("/sys/class/thermal/thermal_zone*/temp"):
        text = _text(path)
        if re.fullmatch(r"-?\d+", text) and -40_000 < int(text) < 200_000 and int(text):
            found.append(int(text) / 1000)
    return max(found, default=None)


def _governors() -> list[str]:
    paths = glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")
    return sorted({_text(path) for path in paths} - {""})


def _power_mode() -> str:
    """Of a Jetson, e.g. `15W`."""
    if shutil.which("nvpmodel") is None:
        return ""
    try:
        done = subprocess.run(
            ["nvpmodel", "-q"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_QUERY_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"^NV Power Mode:[ \t]*(.*\S)", done.stdout, re.MULTILINE)
    return found[1] if found else ""


if __name__ == "__main__":
    sys.exit(main())
