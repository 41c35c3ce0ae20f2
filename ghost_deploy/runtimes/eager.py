"""The PyTorch module itself: the reference for all other runtimes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.spec import InputSpec, ModelSpec
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.vendor import existing_file, fallback, vendor_errors, vendor_import

if TYPE_CHECKING:
    from torch import nn


class EagerRuntime(Runtime):
    """A torch module with one input and one output, float32, in inference mode.

    Any batch and size that the module accepts may be fed: a range of sizes is a property of an
    exported graph, not of the module. The module must be in eval mode; on the CPU it is used
    without a copy.

    Args:
        net: the module, float32.
        inputs: description of the input tensor, float32 (B, 3, H, W).
        options: `cpu`, `cuda[:N]` or `gpu`; a given number of threads applies to the whole
            process, as always in torch.
        output: name of the output tensor, float32 with three axes.
        metadata: returned by `metadata()`.

    Raises:
        MissingExtraError: torch is not installed.
        DeviceError: the device is not available or the precision is not fp32, without fallback.
    """

    def __init__(
        self,
        net: nn.Module,
        inputs: InputSpec,
        options: RuntimeOptions | None = None,
        *,
        output: str = "output0",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        with vendor_import("torch", "export"):
            import torch
        options = options or RuntimeOptions()
        device, notes = _device(torch, options)
        if options.threads:
            torch.set_num_threads(options.threads)
        with vendor_errors(f"torch cannot use {device}", "Check the driver with: nvidia-smi"):
            # A copy on another device: the caller's module is not moved.
            self._net: Any = net if device == "cpu" else copy.deepcopy(net).to(device)
        self._torch: Any = torch
        self._device = device
        self._extra = dict(metadata or {})
        self.inputs = (TensorSpec(inputs.name, (-1, 3, -1, -1), "float32"),)
        self.outputs = (TensorSpec(output, (-1, -1, -1), "float32"),)
        self.info = RuntimeInfo(
            runtime="eager",
            version=str(torch.__version__),
            device=device,
            precision="fp32",
            compute="f32",
            threads=torch.get_num_threads(),
            notes=notes,
        )

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        torch, (array,) = self._torch, feeds.values()
        # torch shares the memory of a writable array and warns about any other.
        owned = np.require(array, requirements=["C", "W"])
        # cuDNN's defaults are TF32 (10 bits of mantissa) and the algorithm that is fastest now.
        exact = torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        )
        with (
            vendor_errors("torch failed to run the model", "Check the input's size"),
            torch.inference_mode(),
            exact,
        ):
            value = self._net(torch.from_numpy(owned).to(self._device))
            return {self.outputs[0].name: value.cpu().numpy()}

    def _metadata(self) -> dict[str, str]:
        return dict(self._extra)

    def _close(self) -> None:
        self._net = None


def open_model(path: Path, options: RuntimeOptions) -> EagerRuntime:
    """Open a checkpoint (`.pt` or `.safetensors`) in PyTorch.

    Raises:
        MissingExtraError: torch is not installed.
        DeviceError: the device is not available, without fallback.
        CheckpointError: the checkpoint cannot be loaded.
    """
    existing_file(path)
    with vendor_import("torch", "export"):
        from ghost_deploy.checkpoints.loading import load_checkpoint
    loaded = load_checkpoint(path)
    spec = loaded.spec
    metadata = {ModelSpec.Json: spec.to_json().decode()}
    return EagerRuntime(loaded.net, spec.input, options, output=spec.head.output, metadata=metadata)


def probe() -> Probe:
    """Report the version and devices of PyTorch."""
    try:
        with vendor_import("torch", "export"):
            import torch
        with vendor_errors("torch cannot list its devices", "Check the driver with: nvidia-smi"):
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
            names = [torch.cuda.get_device_name(index) for index in range(count)]
    except GhostDeployError as error:
        return Probe.failed("eager", "torch", error)
    devices = [Device("cpu", torch.backends.cpu.get_cpu_capability(), ("fp32",))]
    devices += [Device(f"cuda:{i}", name, ("fp32",)) for i, name in enumerate(names)]
    details = {"cuda": torch.version.cuda or "not in this package"}
    return Probe("eager", True, str(torch.__version__), tuple(devices), details)


def _device(torch: Any, options: RuntimeOptions) -> tuple[str, tuple[str, ...]]:
    """torch's name of the device, and notes on allowed fallbacks."""
    notes: tuple[str, ...] = ()
    if options.precision not in ("", "fp32"):
        what = "the reference runs in fp32 only"
        notes += (fallback(options, what, "Choose --precision fp32 or another --runtime"),)
    if options.device_kind == "cpu":
        return "cpu", notes
    wanted = options.device_kind in ("cuda", "gpu")
    count = torch.cuda.device_count() if wanted and torch.cuda.is_available() else 0
    if options.device_index < count:
        return f"cuda:{options.device_index}", notes
    what = f"torch sees {count} CUDA devices here" if wanted else "torch has no such device"
    return "cpu", (*notes, fallback(options, what, "Choose --device cpu or another --runtime"))
