from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ghost_deploy.judge.bench.memory import peak_memory_bytes

PROGRAM = """
import subprocess, sys
block = bytearray(200_000_000)
block[::4096] = b"x" * len(block[::4096])
print(subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, text=True).stdout)
"""
CHILD = "from ghost_deploy.judge.bench.memory import peak_memory_bytes as peak; print(peak())"


def test_a_kernel_that_does_not_tell(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name: python\n")
    assert peak_memory_bytes(tmp_path / "status") == 0
    assert peak_memory_bytes(tmp_path / "absent") > 1_000_000


def test_kernel(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("VmPeak:\t  9 kB\nVmHWM:\t   1234 kB\nVmRSS:\t   1 kB\n")
    assert peak_memory_bytes(tmp_path / "status") == 1234 * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it")
def test_the_memory_of_the_parent_does_not_count() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, CHILD], capture_output=True, text=True, check=True
    )
    assert 1_000_000 < int(done.stdout) < 150_000_000
