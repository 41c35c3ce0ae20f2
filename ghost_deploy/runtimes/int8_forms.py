"""Int8 forms: an int8 graph is built for one family of kernels, and other runtimes refuse it.

A file with signed activations for TensorRT runs no int8 kernel in ONNX Runtime on x86, and OpenVINO
2026.4 computes it wrongly where a Concat feeds a convolution. Therefore every int8 file names its
form.
"""

from __future__ import annotations

import platform

from ghost_deploy.core.errors import BackendError, DeviceError
from ghost_deploy.runtimes.dot_product import read_dot_product

_ARM = ("aarch64", "arm64")


def ort_form(machine: str | None = None) -> str:
    """Return the form that ONNX Runtime's CPU kernels execute in int8.

    Args:
        machine: CPU family as returned by `platform.machine()`; default: this machine.
    """
    return "ort-arm" if (machine or platform.machine()).lower() in _ARM else "ort-x86"


def target_here() -> str:
    """What `--for` calls this machine."""
    return "arm64" if ort_form() == "ort-arm" else "x86"


def forms_here(runtime: str) -> tuple[str, ...]:
    """Int8 forms that a CPU runtime executes in int8 on this machine, the preferred one first.

    None for OpenVINO on ARM: its form is made for x86 and was verified on no ARM processor.

    Args:
        runtime: `ort`, `openvino`, or `ncnn`, whose files serve all processors.
    """
    if runtime == "ncnn":
        return ("ncnn",)
    own = ort_form()
    if own == "ort-arm" and runtime == "openvino":
        return ()
    form = own if runtime == "ort" else runtime
    has_vnni = own != "ort-arm" and read_dot_product().saturates is False
    return (f"{form}-vnni", form) if has_vnni else (form,)


def require_guard(guard: str, *, where: str) -> None:
    """Require that the int8 products of a file cannot overflow on this CPU.

    Args:
        guard: value of `GUARD_KEY` in the file; empty where it has none.
        where: the file, for the error message.

    Raises:
        DeviceError: the CPU has no 8-bit dot product, and the file has no guard.
    """
    if not guard and read_dot_product().saturates:
        raise DeviceError(
            f"the int8 file {where} is for processors with VNNI: on this CPU sums of its products "
            "overflow, and it detects something else",
            got="a CPU without an 8-bit dot product",
            expected="a file for x86",
            fix="Make one, on any machine: ghost-deploy calibrate BUNDLE --calib FOLDER --for x86; "
            "or use another precision",
        )


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
