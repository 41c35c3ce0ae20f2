"""What the instructions of this CPU mean for int8: 8-bit dot products, fused multiply-add.

On x86 without VNNI, ONNX Runtime and OpenVINO multiply unsigned by signed 8-bit numbers with
VPMADDUBSW, which adds pairs of products in 16 bits with saturation: an int8 file without the guard
of `calib.quantize.overflow` detects something else there.
See "When to use reduce-range", https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.files import text_of


@dataclass(frozen=True)
class _Family:
    """A CPU family: the field of /proc/cpuinfo with its flags, of which `base` are always set."""

    field: str
    base: frozenset[str]
    names: dict[str, str]
    saturates: bool


_X86 = _Family(
    "flags", frozenset({"sse2"}), {"avx512_vnni": "AVX512-VNNI", "avx_vnni": "AVX-VNNI"}, True
)
_ARM = _Family("Features", frozenset({"asimd"}), {"i8mm": "I8MM", "asimddp": "SDOT"}, False)
_FAMILIES = {"x86_64": _X86, "amd64": _X86, "i686": _X86, "aarch64": _ARM, "arm64": _ARM}


@dataclass(frozen=True)
class DotProduct:
    """The 8-bit dot product of a CPU.

    Attributes:
        name: of the instructions; empty without any, None when unknown.
        saturates: whether int8 kernels add pairs of products in 16 bits; None when unknown.
    """

    name: str | None = None
    saturates: bool | None = None

    @property
    def sentence(self) -> str:
        """Description for `doctor`."""
        if self.name is None:
            return "not known"
        if self.saturates:
            return "none: int8 files made for x86-vnni are refused, those for x86 are right"
        return self.name or "none; int8 does not saturate on this kind of CPU"


def read_dot_product(root: Path = Path("/"), machine: str | None = None) -> DotProduct:
    """Read the CPU flags that Linux reports; unknown on other systems.

    Args:
        root: folder that contains `proc`.
        machine: CPU family as returned by `platform.machine()`; default: this machine.
    """
    family = _FAMILIES.get((machine or platform.machine()).lower())
    if family is None:
        return DotProduct()
    flags = _flags(text_of(root / "proc" / "cpuinfo"), family.field)
    if not flags >= family.base:
        return DotProduct(saturates=None if family.saturates else False)
    name = next((name for flag, name in family.names.items() if flag in flags), "")
    return DotProduct(name, saturates=family.saturates and not name)


def fuses_multiply_add(root: Path = Path("/"), machine: str | None = None) -> bool:
    """Whether a product and a sum are rounded once: not on x86 without FMA (before Haswell).

    Args:
        root, machine: see `read_dot_product`. True where the flags are not known.
    """
    if _FAMILIES.get((machine or platform.machine()).lower()) is not _X86:
        return True
    flags = _flags(text_of(root / "proc" / "cpuinfo"), _X86.field)
    return "fma" in flags or not flags >= _X86.base


def _flags(cpuinfo: str, field: str) -> frozenset[str]:
    """The flags that all cores have; none where the field is missing."""
    lines = re.findall(rf"^{field}[ \t]*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset.intersection(*(frozenset(line.split()) for line in lines or [""]))
