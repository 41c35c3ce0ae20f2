"""OpenVINO's devices and the arithmetic that a model is opened with on one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ghost_deploy.runtimes.base import Device, RuntimeOptions
from ghost_deploy.runtimes.cpu_cores import available_cores, cpu_quota
from ghost_deploy.runtimes.int8_forms import forms_here
from ghost_deploy.runtimes.vendor import fallback

_DEVICES = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU"}

# Arithmetic for each precision of a run. It is always set: OpenVINO's default is bf16 on a CPU
# that supports it and f16 on a GPU, independent of the file. An fp16 file on a CPU is fp16
# storage: f32 arithmetic gives the same results on all CPUs.
_HINTS: dict[str, dict[str, str]] = {
    "CPU": {"": "f32", "fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"},
    "GPU": {"": "f32", "fp32": "f32", "fp16": "f16", "int8": "f16"},
    "NPU": {"fp16": "f16", "int8": "f16"},
}
_CAPABILITIES = {"FP32": "fp32", "FP16": "fp16", "BF16": "bf16", "INT8": "int8"}
FIX_CHOICE = "Choose another --device or --precision"
_FIX_DEVICE = {
    "cuda": "Choose --runtime ort for an NVIDIA GPU",
    "gpu": "Install Intel's driver (on Ubuntu: sudo apt install intel-opencl-icd)",
    "npu": "Install Intel's driver from https://github.com/intel/linux-npu-driver/releases",
}
_FP16_ON_CPU = "weights are stored in fp16, computed in f32"


@dataclass(frozen=True)
class DeviceChoice:
    """What a model is opened with: OpenVINO's device, the arithmetic and the precision."""

    device: str
    hint: str
    precision: str
    notes: tuple[str, ...]


def choose_device(core: Any, options: RuntimeOptions) -> DeviceChoice:
    """The choice for `options`; with an allowed fallback, the nearest one and a note."""
    notes: tuple[str, ...] = ()
    device, precision = _DEVICES.get(options.device_kind, ""), options.precision
    # The CPU plugin is in every package; `available_devices` would load all other plugins.
    if device != "CPU" and our_name(device) not in map(our_name, core.available_devices):
        what = f"OpenVINO has only {', '.join(sorted(core.available_devices))} here"
        fix = _FIX_DEVICE.get(options.device_kind, FIX_CHOICE)
        notes += (fallback(options, what, fix),)
        device = "CPU"
    hint = _HINTS[device].get(precision, "")
    if not hint or (
        hint == "bf16" and "BF16" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    ):
        what = f"this {device} has no {precision or 'fp32'} arithmetic"
        notes += (fallback(options, what, FIX_CHOICE),)
        hint, precision = ("f16", "fp16") if device == "NPU" else ("f32", "fp32")
    if device == "CPU" and precision == "fp16":
        notes += (_FP16_ON_CPU,)
    return DeviceChoice(device, hint, precision, notes)


def compile_settings(options: RuntimeOptions, choice: DeviceChoice) -> dict[str, Any]:
    """OpenVINO's settings, without those of the cache."""
    config: dict[str, Any] = {
        "PERFORMANCE_HINT": "THROUGHPUT" if options.hint == "throughput" else "LATENCY",
        "INFERENCE_PRECISION_HINT": choice.hint,
    }
    # OpenVINO respects the affinity mask but not the CPU quota of a container.
    threads = options.threads or (available_cores() if cpu_quota() else 0)
    if threads and choice.device == "CPU":
        config["INFERENCE_NUM_THREADS"] = threads
    return config


def our_name(name: str) -> str:
    """Our name of OpenVINO's device `name`: `gpu` for `GPU.0`."""
    return name.partition(".")[0].lower()


def probed_device(core: Any, name: str) -> Device:
    """What `probe` reports of OpenVINO's device `name`."""
    capabilities = set(core.get_property(name, "OPTIMIZATION_CAPABILITIES"))
    precisions = {ours for theirs, ours in _CAPABILITIES.items() if theirs in capabilities}
    if name == "CPU":
        precisions.add("fp16")  # stored in fp16, computed in f32
        if not forms_here("openvino"):
            precisions.discard("int8")
    return Device(
        name=our_name(name),
        description=str(core.get_property(name, "FULL_DEVICE_NAME")),
        precisions=tuple(p for p in _CAPABILITIES.values() if p in precisions),
    )
