"""The device that a TensorRT plan runs on, by the request, the plan and this machine."""

from __future__ import annotations

from dataclasses import dataclass

from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.vendor import fallback

_FIX_DEVICE = "Choose --device cuda, or another --runtime"
_FIX_GPU = "Choose a GPU that nvidia-smi lists"
_FIX_PRECISION = "Build a plan in that precision: ghost-deploy build BUNDLE --trt"


@dataclass(frozen=True)
class Place:
    """A GPU, or a DLA core, and notes on allowed fallbacks."""

    gpu: int = 0
    dla: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """Named as in `RuntimeOptions.device`."""
        return f"cuda:{self.gpu}" if self.dla is None else f"dla:{self.dla}"


def choose_place(
    options: RuntimeOptions, gpus: int, *, known: bool, built_for: int | None
) -> Place:
    """Return the place that fulfils `options`, or the nearest one if a fallback is allowed.

    Args:
        options: the request.
        gpus: number of GPUs of this machine.
        known: whether the plan has a record of the device it was built for.
        built_for: the DLA core that it was built for; None means the GPU, where it is known.

    Raises:
        DeviceError: there is no such place, and no fallback allowed.
    """
    if options.device_kind == "dla":
        if built_for is not None or not known:
            return Place(dla=options.device_index)
        what = "this plan was built for the GPU"
        return Place(notes=(fallback(options, what, "Choose --device cuda"),))
    if built_for is not None:
        what = f"this plan was built for the DLA core {built_for}"
        note = fallback(options, what, f"Choose --device dla:{built_for}")
        return Place(dla=built_for, notes=(note,))
    if options.device_kind not in ("cuda", "gpu"):
        return Place(notes=(fallback(options, "TensorRT runs on NVIDIA GPUs only", _FIX_DEVICE),))
    if options.device_index >= gpus:
        what = f"CUDA sees {gpus} GPU{'' if gpus == 1 else 's'} here"
        return Place(notes=(fallback(options, what, _FIX_GPU),))
    return Place(gpu=options.device_index)


def precision_note(options: RuntimeOptions, have: str) -> tuple[str, ...]:
    """Return the note on an allowed fallback to the precision of the plan.

    Args:
        options: the request.
        have: the precision of the plan; empty if it is not recorded.

    Raises:
        DeviceError: it is another one, and no fallback allowed.
    """
    asked = options.precision
    if asked in ("", have) or (not have and asked != "bf16"):
        return ()
    what = f"the plan was built in {have or 'an unknown precision'}"
    return (fallback(options, what, _FIX_PRECISION),)
