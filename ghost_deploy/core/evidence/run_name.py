"""The short name of a run: what ran, with which runtime, in which precision."""

from __future__ import annotations


def run_name(artifact: str, runtime: str, precision: str) -> str:
    """E.g. `openvino-fp32 on openvino in bf16`; a precision that the artifact names is left out."""
    named = not precision or precision in artifact.split("-")
    return f"{artifact} on {runtime}" + ("" if named else f" in {precision}")
