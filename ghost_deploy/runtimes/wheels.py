"""Packages of backends that use instructions which a processor lacks, and versions that do not.

A wheel is compiled for the oldest processor that its maker thought of; on an older one importing it
ends the process. onnxruntime 1.21.0, for one, does so on a Raspberry Pi 4, 1.21.1 does not
(https://github.com/microsoft/onnxruntime/issues/23957).
"""

from __future__ import annotations

import importlib.util
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.core.files import text_of


@dataclass(frozen=True)
class _Family:
    """Processors: the field of /proc/cpuinfo with their flags, those that wheels tend to need in
    the order of their age, and the oldest one that versions of packages were seen to run on."""

    field: str
    flags: tuple[str, ...]
    oldest: str


_X86 = _Family("flags", ("sse4_2", "avx", "avx2", "fma", "avx512f"), "Nehalem (SSE4.2, no AVX)")
_ARM = _Family("Features", ("atomics", "asimdhp", "asimddp", "sve"), "Cortex-A72 (ARMv8.0)")
_FAMILIES = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}

_RUN_ON_OLDEST = {
    "onnxruntime": "1.32.0" if sys.version_info >= (3, 11) else "1.23.2",
    "openvino": "2026.4.1",
}
"""Versions that ran on the oldest processor of both families, emulated; docs/devices.md."""


def distributions_of(package: str) -> tuple[str, ...]:
    """The installed distributions named after a package, such as `onnxruntime-1.32.0`.

    Asking `importlib.metadata` which distribution a package belongs to takes half a second; this
    takes a millisecond, and imports nothing.

    Args:
        package: name of the Python package.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return ()
    folders = {Path(place).parent for place in spec.submodule_search_locations}
    found = {info.stem for folder in folders for info in folder.glob(f"{package}*-info")}
    return tuple(sorted(found))


def illegal_instruction(package: str, root: Path = Path("/")) -> UnavailableError:
    """The error of a package that ended its process by an illegal instruction.

    Args:
        package: name of the Python package.
        root: folder that contains `proc`.
    """
    installed = next(iter(distributions_of(package)), package)
    family = _FAMILIES.get(platform.machine().lower())
    works = _RUN_ON_OLDEST.get(package)
    fix = "Use another --runtime"
    if family and works and not installed.endswith(f"-{works}"):
        fix += f", or the version that runs on {family.oldest}: pip install {package}=={works}"
    return UnavailableError(
        f"{installed} uses instructions that this processor lacks (illegal instruction)",
        got=_lacks(family, root) if family else None,
        fix=fix,
    )


def _lacks(family: _Family, root: Path) -> str | None:
    """What the processor has not, of the flags that wheels tend to need."""
    found = re.search(rf"^{family.field}[ \t]*:(.*)$", text_of(root / "proc/cpuinfo"), re.M)
    if found is None:
        return None
    missing = [flag for flag in family.flags if flag not in found[1].split()]
    return f"a processor without {', '.join(missing)}" if missing else None
