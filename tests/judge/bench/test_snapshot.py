from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from ghost_deploy._version import __version__
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.judge.bench.snapshot import others_load, parse_power_mode, take_snapshot


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    found = take_snapshot(tmp_path)
    assert (found.governors, found.load_before, found.power_mode) == ((), None, "")
    assert found.packages["ghost-deploy"] == __version__
    assert found.sentence


def test_what_was_going_on(tmp_path: Path) -> None:
    for cpu, governor in enumerate(("schedutil", "performance", "schedutil")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(governor + "\n")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/loadavg").write_text("1.75 0.60 0.40 2/345 6789\n")
    found = take_snapshot(tmp_path)
    assert found.governors == ("performance", "schedutil")
    assert found.load_before == 1.75
    assert msgspec.json.decode(msgspec.json.encode(found), type=Snapshot) == found


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", ""),
        ("bash: nvpmodel: command not found", ""),
        ("NV Power Mode: MAXN\n0\n", "MAXN"),
        ("NV Fan Mode:quiet\nNV Power Mode: MODE_15W_6CORE\n2\n", "MODE_15W_6CORE"),
    ],
)
def test_power_mode(text: str, mode: str) -> None:
    assert parse_power_mode(text) == mode


def test_the_power_mode_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvpmodel"
    program.write_text('#!/bin/sh\n[ "$1" = -q ] && echo "NV Power Mode: 25W"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = take_snapshot()
    assert found.power_mode == "25W"
    assert "power mode 25W" in found.sentence


def test_the_load_of_others_is_without_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert others_load(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "loadavg").write_text("3.5 1 1 1/9 9\n")
    monkeypatch.setattr(os, "times", lambda: os.times_result((60.0, 15.0, 30.0, 15.0, 99.0)))
    assert others_load(tmp_path) == 1.5
    monkeypatch.setattr(os, "times", lambda: os.times_result((900.0, 0.0, 0.0, 0.0, 999.0)))
    assert others_load(tmp_path) == 0.0
