"""The device that a TensorRT plan runs on, from the options, the plan and the machine."""

from __future__ import annotations

from dataclasses import dataclass

from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.vendor import fallback

_FIX_DEVICE = "Choose --device cuda, or another --runtime"
_FIX_GPU = "Choose a GPU that nvidia-smi lists"
_FIX_PRECISION = "Build a plan in that precision: ghost-deploy build BUNDLE --trt"


@dataclass(frozen=True)
class ChosenDevice:
    """The GPU, the DLA core if it is one, and notes of allowed fallbacks."""

    gpu: int = 0
    dla: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """In the form of `RuntimeOptions.device`."""
        return f"cuda:{self.gpu}" if self.dla is None else f"dla:{self.dla}"


def choose_device(
    options: RuntimeOptions, gpus: int, *, known: bool, built_for: int | None
) -> ChosenDevice:
    """The device for `options`, or the nearest one where a fallback is allowed.

    Args:
        options: what was asked for.
        gpus: number of GPUs of this machine.
        known: whether a sidecar says what the plan was built for.
        built_for: the DLA core that it was built for; None means the GPU, where it is known.

    Raises:
        DeviceError: there is no such device, and no fallback is allowed.
    """
    if options.device_kind == "dla":
        if built_for is not None or not known:
            return ChosenDevice(dla=options.device_index)
        what = "this plan was built for the GPU"
        return ChosenDevice(notes=(fallback(options, what, "Choose --device cuda"),))
    if built_for is not None:
        what = f"this plan was built for the DLA core {built_for}"
        note = fallback(options, what, f"Choose --device dla:{built_for}")
        return ChosenDevice(dla=built_for, notes=(note,))
    if options.device_kind not in ("cuda", "gpu"):
        return ChosenDevice(
            notes=(fallback(options, "TensorRT runs on NVIDIA GPUs only", _FIX_DEVICE),)
        )
    if options.device_index >= gpus:
        what = f"CUDA sees {gpus} GPU{'' if gpus == 1 else 's'} here"
        return ChosenDevice(notes=(fallback(options, what, _FIX_GPU),))
    return ChosenDevice(gpu=options.device_index)


def precision_note(options: RuntimeOptions, have: str) -> tuple[str, ...]:
    """The note for a plan of another precision, where a fallback is allowed.

    Args:
        options: what was asked for.
        have: the plan's precision; empty if unknown.

    Raises:
        DeviceError: it is another one, and no fallback is allowed.
    """
    asked = options.precision
    if asked in ("", have) or (not have and asked != "bf16"):
        return ()
    what = f"the plan was built in {have or 'a precision that it does not tell'}"
    return (fallback(options, what, _FIX_PRECISION),)
