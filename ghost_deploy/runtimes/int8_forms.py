"""Which int8 files a runtime may run: a Q/DQ graph serves one family of kernels.

A file with signed activations made for TensorRT runs no int8 kernel in ONNX Runtime on x86 and is
computed wrongly by OpenVINO 2026.4 where a Concat feeds a convolution, so every int8 file names
its form and a runtime refuses another's.
"""

from __future__ import annotations

import platform

from ghost_deploy.core.errors import BackendError

__all__ = ["ort_form", "require_form"]

_ARM = ("aarch64", "arm64")


def ort_form(machine: str | None = None) -> str:
    """The form that ONNX Runtime's CPU kernels execute in int8 on this machine.

    Args:
        machine: processor family as `platform.machine()` gives it; this machine's when None.
    """
    return "ort-arm" if (machine or platform.machine()).lower() in _ARM else "ort-x86"


def require_form(runtime: str, got: str, forms: tuple[str, ...], *, where: str) -> None:
    """See that an int8 file was made for this runtime.

    Args:
        runtime: name of the runtime.
        got: form that the file names; empty for a file that is not int8 or names none.
        forms: what the runtime runs.
        where: the file, for the message.

    Raises:
        BackendError: it was made for another one.
    """
    if got and got not in forms:
        raise BackendError(
            f"{where} is an int8 graph made for another runtime than {runtime}",
            got=f"the form {got}",
            expected=", ".join(forms) or "no int8 file",
            fix="Make the file for this runtime: ghost-deploy calibrate BUNDLE --calib FOLDER",
        )
