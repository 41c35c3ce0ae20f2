"""Python on a processor that is not there, by `tools/emulate.py`."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-x86_64-static") is None or sys.platform != "linux",
    reason="qemu-user-static is not installed",
)

_TOOL = Path(__file__).resolve().parents[2] / "tools" / "emulate.py"


def emulate() -> ModuleType:
    """The tool as a module."""
    spec = importlib.util.spec_from_file_location("emulate", _TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["emulate"] = module
    spec.loader.exec_module(module)
    return module


def run_on(processor: str, words: list[str], cache: Path, timeout_s: float = 600) -> str:
    """Standard output of an emulated Python; the test fails where it fails.

    Args:
        processor: name in the tool's table.
        words: arguments of Python.
        cache: a folder for the tool.
        timeout_s: seconds.
    """
    tool = emulate()
    start, environment = tool.prepare(tool.PROCESSORS[processor], cache)
    done = subprocess.run(
        [*start, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr[-3000:]
    return done.stdout
