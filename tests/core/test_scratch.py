"""Temporary folders of the system: gone with the block, and with the next process of ours."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ghost_deploy.core import leftovers
from ghost_deploy.core.scratch import scratch_folder

HOLDER = """
import time
from ghost_deploy.core.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "a").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(leftovers, "_searched", set())
    return tmp_path


def test_it_is_private_and_gone_afterwards(temporary: Path) -> None:
    with scratch_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_the_next_one_removes_what_a_killed_process_left(temporary: Path) -> None:
    (temporary / "of others").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True
    ) as dead:
        assert dead.stdout is not None
        left = Path(dead.stdout.readline().strip())
        with scratch_folder():
            assert left.exists()  # it lives
        dead.send_signal(signal.SIGKILL)
    assert left.exists()
    leftovers._searched.clear()
    with scratch_folder() as folder:
        assert sorted(temporary.iterdir()) == sorted([temporary / "of others", folder])
