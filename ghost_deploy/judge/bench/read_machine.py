"""Description of this machine from files of its kernel; no program is run."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from ghost_deploy.core.evidence.machine import Machine

# Instruction sets that decide the speed of CPU backends, by the kernel's names: x86, then ARM.
_RELEVANT_FLAGS = frozenset(
    {"avx", "avx2", "f16c", "fma", "avx512f", "avx512_bf16", "avx512_fp16", "avx512_vnni"}
    | {"avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
    | {"asimd", "asimddp", "asimdhp", "bf16", "i8mm", "sve", "sve2"}
)
# Implementer and part of the cores of common boards, from Linux arch/arm64/include/asm/cputype.h.
_ARM_CORES = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x4E, 0x003): "NVIDIA Denver 2",
    (0x4E, 0x004): "NVIDIA Carmel",
}


def read_machine(root: Path = Path("/")) -> Machine:
    """Describe this machine.

    Args:
        root: where `proc` and `etc` are; another one in tests.
    """
    cpuinfo = _read(root / "proc/cpuinfo")
    flags = (_field(cpuinfo, "flags") or _field(cpuinfo, "Features")).split()
    driver = re.search(
        r"Kernel Module\b.*?(\d+\.\d+(?:\.\d+)?)", _read(root / "proc/driver/nvidia/version")
    )
    gpus = sorted((root / "proc/driver/nvidia/gpus").glob("*/information"))
    return Machine(
        system=f"{platform.system()} {platform.release()}",
        distribution=_distribution(root),
        architecture=platform.machine(),
        cpus=_usable_cpus(),
        cpu=processor_name(cpuinfo) or platform.processor(),
        cpu_flags=tuple(sorted(_RELEVANT_FLAGS.intersection(flags))),
        memory_bytes=_memory(root, "MemTotal"),
        memory_available_bytes=_memory(root, "MemAvailable"),
        board=_read(root / "proc/device-tree/model").strip("\0 \n"),
        jetson=_read(root / "etc/nv_tegra_release").partition("\n")[0].lstrip("# "),
        nvidia_driver=driver[1] if driver else "",
        nvidia_gpus=tuple(name for path in gpus if (name := _field(_read(path), "Model"))),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(text: str, name: str) -> str:
    """The value of the first line `name : value`."""
    found = re.search(rf"^{re.escape(name)}\s*:[ \t]*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def processor_name(cpuinfo: str) -> str:
    """The processor that a `/proc/cpuinfo` describes; of another machine, too.

    Empty where it names none.
    """
    if name := _field(cpuinfo, "model name"):
        return name
    implementer, part = _field(cpuinfo, "CPU implementer"), _field(cpuinfo, "CPU part")
    if not (implementer and part):
        return ""
    known = _ARM_CORES.get((int(implementer, 16), int(part, 16)))
    return known or f"ARM implementer {implementer} part {part}"


def _distribution(root: Path) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', _read(root / "etc/os-release"), re.MULTILINE)
    return found[1] if found else ""


def _memory(root: Path, name: str) -> int:
    kibibytes = _field(_read(root / "proc/meminfo"), name).partition(" ")[0]
    return int(kibibytes) * 1024 if kibibytes.isdecimal() else 0


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
