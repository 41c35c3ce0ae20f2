"""What the processor under the tests can do."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["HAS_BF16"]


def _has_bf16() -> bool:
    if find_spec("openvino") is None:
        return False
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


HAS_BF16 = _has_bf16()
"""Whether OpenVINO computes in bfloat16 on this CPU."""
