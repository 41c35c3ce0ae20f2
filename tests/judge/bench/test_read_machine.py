from __future__ import annotations

import os
from pathlib import Path

import pytest

from ghost_deploy.judge.bench.read_machine import read_machine

X86 = """\
processor : 0
model name : Intel(R) Core(TM) i7-1185G7 @ 3.00GHz
flags : fpu sse2 avx2 avx512f avx512_vnni hypervisor
"""
ORIN = """\
processor : 0
Features : fp asimd asimdhp asimddp
CPU implementer : 0x41
CPU part : 0xd42
"""
UNKNOWN_ARM = ORIN.replace("0xd42", "0xfff")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    machine = read_machine(tmp_path)
    assert machine.cpus >= 1
    assert machine.system
    assert (machine.cpu_flags, machine.memory_bytes, machine.board) == ((), 0, "")


def test_this_machine() -> None:
    machine = read_machine()
    assert machine.cpus <= (os.cpu_count() or 1)
    assert machine == read_machine() or machine.memory_available_bytes > 0
    assert machine.cpu_key == read_machine().cpu_key


@pytest.mark.parametrize(
    ("cpuinfo", "name", "flags"),
    [
        (X86, "Intel(R) Core(TM) i7-1185G7 @ 3.00GHz", ("avx2", "avx512_vnni", "avx512f")),
        (ORIN, "Cortex-A78AE", ("asimd", "asimddp", "asimdhp")),
        (UNKNOWN_ARM, "ARM implementer 0x41 part 0xfff", ("asimd", "asimddp", "asimdhp")),
    ],
)
def test_processors(cpuinfo: str, name: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    machine = read_machine(write(tmp_path, {"proc/cpuinfo": cpuinfo}))
    assert (machine.cpu, machine.cpu_flags) == (name, flags)


def test_a_key_belongs_to_a_kind_of_processor(tmp_path: Path) -> None:
    keys = [
        read_machine(write(tmp_path / str(i), {"proc/cpuinfo": text})).cpu_key
        for i, text in enumerate((X86, X86, ORIN, X86.replace("avx512f", "")))
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_jetson(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\nx\n",
            "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "proc/meminfo": "MemTotal:  7850000 kB\nMemAvailable:  5000000 kB\n",
        },
    )
    machine = read_machine(root)
    assert machine.jetson.startswith("R36 (release), REVISION: 4.3")
    assert machine.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.distribution == "Ubuntu 22.04.5 LTS"
    assert machine.memory_bytes == 7850000 * 1024
    assert machine.memory_available_bytes == 5000000 * 1024


@pytest.mark.parametrize(
    "line",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build",
    ],
)
def test_nvidia_gpus(line: str, tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "proc/driver/nvidia/version": line,
            "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA H200\nIRQ: 1\n",
            "proc/driver/nvidia/gpus/0000:02:00.0/information": "Model: \t\t NVIDIA L4\n",
        },
    )
    machine = read_machine(root)
    assert machine.nvidia_driver == "550.54.15"
    assert machine.nvidia_gpus == ("NVIDIA H200", "NVIDIA L4")
