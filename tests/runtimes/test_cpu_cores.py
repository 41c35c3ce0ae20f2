"""The number of usable cores, read from a simulated sysfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.runtimes import cpu_cores


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


QUOTAS = [
    ({}, 0),
    ({"cpu.max": "max 100000\n"}, 0),
    ({"cpu.max": "200000 100000\n"}, 2),
    ({"cpu.max": "250000 100000\n"}, 2),
    ({"cpu.max": "50000 100000\n"}, 1),
    ({"cpu.max": "nonsense"}, 0),
    ({"cpu.max": "100000 0"}, 0),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0),
    ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
]


@pytest.mark.parametrize(("files", "expected"), QUOTAS)
def test_quota(tmp_path: Path, files: dict[str, str], expected: int) -> None:
    for name, text in files.items():
        write(tmp_path / "fs" / "cgroup" / name, text)
    assert cpu_cores.cpu_quota(tmp_path) == expected


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [
        ({0, 1, 2, 3}, "max 100000", 2),
        ({0, 2}, "max 100000", 1),
        ({0, 1}, "max 100000", 2),
        ({0, 1, 2, 3}, "100000 100000", 1),
        ({0}, "800000 100000", 1),
    ],
)
def test_hyper_threads_count_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    affinity: set[int],
    quota: str,
    expected: int,
) -> None:
    for cpu in range(4):  # CPUs 0 and 2 are one core, 1 and 3 the other
        topology = tmp_path / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        write(topology, f"{cpu % 2},{cpu % 2 + 2}\n")
    write(tmp_path / "fs/cgroup/cpu.max", quota)
    monkeypatch.setattr(cpu_cores, "_affinity", lambda: affinity)
    assert cpu_cores.available_cores(tmp_path) == expected


def test_an_empty_sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_cores, "_affinity", lambda: {0, 5})
    assert cpu_cores.available_cores(tmp_path) == 2


def test_this_machine() -> None:
    assert cpu_cores.available_cores() >= 1
