"""Int8 forms: an int8 graph is built for one family of kernels, and other runtimes refuse it.

A file with signed activations for TensorRT runs no int8 kernel in ONNX Runtime on x86, and OpenVINO
2026.4 computes it wrongly where a Concat feeds a convolution. Therefore every int8 file names its
form.
"""

from __future__ import annotations

import platform

from ghost_deploy.core.errors import BackendError

_ARM = ("aarch64", "arm64")


def ort_form(machine: str | None = None) -> str:
    """Return the form that ONNX Runtime's CPU kernels execute in int8.

    Args:
        machine: CPU family as returned by `platform.machine()`; default: this machine.
    """
    return "ort-arm" if (machine or platform.machine()).lower() in _ARM else "ort-x86"


def require_form(runtime: str, got: str, forms: tuple[str, ...], *, where: str) -> None:
    """Require that an int8 file was built for this runtime.

    Args:
        runtime: name of the runtime.
        got: form named in the file; empty for a file that is not int8 or names none.
        forms: forms that the runtime supports.
        where: the file, for the error message.

    Raises:
        BackendError: the file was built for another runtime.
    """
    if got and got not in forms:
        raise BackendError(
            f"{where} is an int8 graph made for another runtime than {runtime}",
            got=f"the form {got}",
            expected=", ".join(forms) or "no int8 file",
            fix="Make the file for this runtime: ghost-deploy calibrate BUNDLE --calib FOLDER",
        )
