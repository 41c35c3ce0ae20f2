"""Whether this processor adds products of 8-bit numbers without losing any of them.

Without such an instruction ONNX Runtime multiplies unsigned by signed 8-bit numbers on x86 with
VPMADDUBSW, which adds pairs of products in 16 bits and cuts off what does not fit. Two products of
255 and 127 do not, so an int8 file that was judged on a processor with VNNI may detect worse on one
without. See "When to use reduce-range", https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SATURATES", "DotProduct", "read_dot_product"]

SATURATES = (
    "this CPU has no 8-bit dot product (VNNI), so ONNX Runtime adds pairs of int8 products in 16 "
    "bits and cuts off what does not fit: a file that was judged on another CPU may detect worse "
    "here. Only a verdict of this CPU counts: ghost-deploy validate BUNDLE --data DATA, or "
    "ghost-deploy calibrate BUNDLE --calib FOLDER"
)
"""What a user should know where `DotProduct.saturates`."""


@dataclass(frozen=True)
class _Family:
    """Processors whose kernel tells flags under `field`, always `base` among them."""

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
    """The 8-bit dot product of a processor.

    Attributes:
        name: of the instructions; empty where there are none, None where that is not known.
        saturates: whether ONNX Runtime's int8 kernels may cut off sums; None where that is not
            known.
    """

    name: str | None = None
    saturates: bool | None = None

    @property
    def sentence(self) -> str:
        """What there is, for `doctor`."""
        if self.name is None:
            return "not known"
        if self.saturates:
            return "none: int8 files for ONNX Runtime may saturate; validate here"
        return self.name or "none; int8 does not saturate on this kind of CPU"


def read_dot_product(root: Path = Path("/"), machine: str | None = None) -> DotProduct:
    """What the kernel tells of this processor; only Linux does.

    Args:
        root: where `proc` is; another one in tests.
        machine: processor family as `platform.machine()` gives it; this machine's when None.
    """
    family = _FAMILIES.get((machine or platform.machine()).lower())
    if family is None:
        return DotProduct()
    flags = _flags(_read(root / "proc" / "cpuinfo"), family.field)
    if not flags >= family.base:
        return DotProduct(saturates=None if family.saturates else False)
    name = next((name for flag, name in family.names.items() if flag in flags), "")
    return DotProduct(name, saturates=family.saturates and not name)


def _flags(cpuinfo: str, field: str) -> frozenset[str]:
    """The flags that every processor has; none where the field is missing."""
    lines = re.findall(rf"^{field}[ \t]*:(.*)$", cpuinfo, re.MULTILINE)
    return frozenset.intersection(*(frozenset(line.split()) for line in lines or [""]))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
