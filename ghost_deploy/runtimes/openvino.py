"""OpenVINO: runs `.xml` files."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ghost_deploy.core.bundle import FORM_KEY, GUARD_KEY, sha256_of
from ghost_deploy.core.errors import DeviceError, GhostDeployError
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.compiled_cache import CompiledCache
from ghost_deploy.runtimes.cpu_cores import available_cores, cpu_quota
from ghost_deploy.runtimes.dot_product import read_dot_product
from ghost_deploy.runtimes.int8_forms import forms_here, require_guard
from ghost_deploy.runtimes.openvino_info import info_of
from ghost_deploy.runtimes.openvino_package import import_openvino
from ghost_deploy.runtimes.vendor import existing_file, fallback, vendor_errors, vendor_import

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
_FIX_CHOICE = "Choose another --device or --precision"
_FIX_DEVICE = {
    "cuda": "Choose --runtime ort for an NVIDIA GPU",
    "gpu": "Install Intel's driver (on Ubuntu: sudo apt install intel-opencl-icd)",
    "npu": "Install Intel's driver from https://github.com/intel/linux-npu-driver/releases",
}
_UNNAMED = "output"
# OpenVINO 2026.4: on a Cortex-A76 48 of 52 int8 convolutions run as `ref_any_f16`, on a Cortex-A72
# compiling ends with "object is not initialized"; both emulated.
_INT8_ON_ARM = (
    "it computes most int8 convolutions in its reference kernels there, slower than float, or "
    "does not compile them"
)
_FP16_ON_CPU = "weights are stored in fp16, computed in f32"


class OvRuntime(Runtime):
    """An OpenVINO IR. Outputs are views of the infer request's tensors, valid until the next run.

    A contiguous, writable feed is read in place; OpenVINO copies any other.
    """

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        """Open `path`; see `open_model`."""
        with vendor_import("openvino", "openvino"):
            openvino = import_openvino()
        core = _core()
        choice = _resolve(core, options)
        config = _config(options, choice)
        cache, notes = _cache(path, options, choice)
        if cache:
            config["CACHE_DIR"] = str(cache.folder)
            config["CACHE_MODE"] = _cache_mode(options)
        fix = "Export the model again, or update: pip install -U openvino"
        if choice.device == "CPU" and options.precision in ("", "int8"):
            _require_guard(core, path, known=options.precision == "int8")
        with vendor_errors(f"OpenVINO cannot load {path}", fix):
            compiled = core.compile_model(str(path), choice.device, config)
            device = ", ".join(compiled.get_property("EXECUTION_DEVICES"))
            compute = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
            on_cpu = choice.device == "CPU"
            threads = compiled.get_property("INFERENCE_NUM_THREADS") if on_cpu else 0
            streams = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
            self._request: Any = compiled.create_infer_request()
            self.inputs = tuple(map(_tensor_spec, compiled.inputs))
            self.outputs = tuple(map(_tensor_spec, compiled.outputs))
        if cache:
            cache.record()
        if _kind(device) != _kind(choice.device) or compute != choice.hint:
            what = f"OpenVINO computes on {device} in {compute}"
            notes += (fallback(options, what, _FIX_CHOICE),)
        self._path = path
        self._compiled: Any = compiled
        self.info = RuntimeInfo(
            runtime="openvino",
            version=_version(openvino),
            device=_kind(device),
            precision=choice.precision,
            compute=compute,
            threads=threads,
            notes=choice.notes + notes,
            streams=streams,
            queued=int(streams > 1),  # with a single stream it gains nothing
        )

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        with vendor_errors("OpenVINO failed to run the model", "Check the input's size"):
            result = self._request.infer(dict(feeds), share_inputs=True, share_outputs=True)
        return {
            spec.name: value for spec, value in zip(self.outputs, result.to_tuple(), strict=True)
        }

    def _fork(self) -> OvRuntime:
        fork = copy.copy(self)
        with vendor_errors("OpenVINO cannot create another request", "Close unused runtimes"):
            fork._request = self._compiled.create_infer_request()
        return fork

    def _metadata(self) -> dict[str, str]:
        fix = "Put the file back and open the model again"
        with vendor_errors(f"OpenVINO cannot read {self._path}", fix):
            quickly = info_of(self._path)
            if quickly is not None:
                return quickly
            info = _core().read_model(str(self._path)).get_rt_info()
            values = {key: info[key] for key in info}
        # A section, such as OpenVINO's own `conversion_parameters`, is a dict.
        return {k: str(v.value) for k, v in values.items() if not isinstance(v, dict)}

    def _close(self) -> None:
        self._request = self._compiled = None


def open_model(path: Path, options: RuntimeOptions) -> OvRuntime:
    """Open the `.xml` of an OpenVINO IR.

    With `options.cache_dir` the compiled model is cached there, in a subfolder named by a hash of
    the model files and the arithmetic. OpenVINO's own cache key is the path and the modification
    time of the `.xml`: weights replaced under an equal time, as in container image builds and
    archives, would run the old model. A compiled model that is not what was written is compiled
    again. A cache that cannot be used is reported in `RuntimeInfo.notes`.

    Raises:
        MissingExtraError: openvino is not installed.
        DeviceError: the device or its precision is not available, without fallback.
        BackendError: the file is missing, damaged or needs operators that this version lacks.
    """
    return OvRuntime(existing_file(path), options)


def probe() -> Probe:
    """Report the version and devices of OpenVINO."""
    try:
        with vendor_import("openvino", "openvino"):
            openvino = import_openvino()
        with vendor_errors("OpenVINO cannot list its devices", "Install it again"):
            core = _core()
            devices = tuple(_probed(core, name) for name in core.available_devices)
    except GhostDeployError as error:
        return Probe.failed("openvino", "openvino", error)
    details = {} if forms_here("openvino") else {"int8": f"not on ARM: {_INT8_ON_ARM}"}
    return Probe("openvino", True, _version(openvino), devices, details)


def _require_guard(core: Any, path: Path, *, known: bool) -> None:
    """Refuse an int8 file that is not right on this CPU; the file is read only where one may not
    be.

    Args:
        core: of OpenVINO.
        path: of the file.
        known: it is an int8 file; else it is one if it names its form.
    """
    on_arm = not forms_here("openvino")
    if not on_arm and not read_dot_product().saturates:
        return
    with vendor_errors(f"OpenVINO cannot read {path}", "Export the model again"):
        info = core.read_model(str(path)).get_rt_info()
        form, guard = (str(info[key].value) if key in info else "" for key in (FORM_KEY, GUARD_KEY))
    if not known and not form:
        return
    if on_arm:
        raise DeviceError(
            f"OpenVINO does not run the int8 file {path} on ARM: {_INT8_ON_ARM}",
            got="an ARM processor",
            expected="x86",
            fix="Use another precision, or --runtime ort with a file for arm64: "
            "ghost-deploy calibrate BUNDLE --calib FOLDER --for arm64",
        )
    require_guard(guard, where=str(path))


def _version(openvino: Any) -> str:
    """`2026.4.1` for `2026.4.1-22982-e213a147257-releases/2026/4`."""
    return str(openvino.__version__).split("-")[0]


@functools.cache
def _core() -> Any:
    """The OpenVINO core of the process, which loads each device plugin once."""
    return import_openvino().Core()


@dataclass(frozen=True)
class _Choice:
    """What a model is opened with: OpenVINO's device, the arithmetic and the precision."""

    device: str
    hint: str
    precision: str
    notes: tuple[str, ...]


def _resolve(core: Any, options: RuntimeOptions) -> _Choice:
    """The choice for `options`; with an allowed fallback, the nearest one and a note."""
    notes: tuple[str, ...] = ()
    device, precision = _DEVICES.get(options.device_kind, ""), options.precision
    # The CPU plugin is in every package; `available_devices` would load all other plugins.
    if device != "CPU" and _kind(device) not in map(_kind, core.available_devices):
        what = f"OpenVINO has only {', '.join(sorted(core.available_devices))} here"
        fix = _FIX_DEVICE.get(options.device_kind, _FIX_CHOICE)
        notes += (fallback(options, what, fix),)
        device = "CPU"
    hint = _HINTS[device].get(precision, "")
    if not hint or (
        hint == "bf16" and "BF16" not in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    ):
        what = f"this {device} has no {precision or 'fp32'} arithmetic"
        notes += (fallback(options, what, _FIX_CHOICE),)
        hint, precision = ("f16", "fp16") if device == "NPU" else ("f32", "fp32")
    if device == "CPU" and precision == "fp16":
        notes += (_FP16_ON_CPU,)
    return _Choice(device, hint, precision, notes)


def _config(options: RuntimeOptions, choice: _Choice) -> dict[str, Any]:
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


def _cache(
    path: Path, options: RuntimeOptions, choice: _Choice
) -> tuple[CompiledCache | None, tuple[str, ...]]:
    """The cache of a model, and a note if it cannot be used."""
    if options.cache_dir is None:
        return None, ()
    cache = CompiledCache(options.cache_dir, _cache_key(path, choice.hint, options))
    problem = cache.prepare()
    return (None, (problem,)) if problem else (cache, ())


def _cache_mode(options: RuntimeOptions) -> str:
    """Of a single run: without the weights, which would have to be hashed once more."""
    return "OPTIMIZE_SIZE" if options.hint == "once" else "OPTIMIZE_SPEED"


def _cache_key(path: Path, hint: str, options: RuntimeOptions) -> str:
    digest = hashlib.sha256(f"{hint} {_cache_mode(options)}".encode())
    for file in (path, path.with_suffix(".bin")):
        if file.is_file():
            digest.update((options.sha256.get(file) or sha256_of(file)).encode())
    return digest.hexdigest()[:16]


def _tensor_spec(port: Any) -> TensorSpec:
    """The description of `port`, an OpenVINO input or output of a compiled model."""
    shape = tuple(size.get_length() if size.is_static else -1 for size in port.get_partial_shape())
    # Graphs converted from PyTorch have outputs without a name.
    name = port.get_any_name() if port.get_names() else f"{_UNNAMED}{port.get_index()}"
    return TensorSpec(name, shape, port.get_element_type().to_dtype().name)


def _kind(name: str) -> str:
    """Our name of OpenVINO's device `name`: `gpu` for `GPU.0`."""
    return name.partition(".")[0].lower()


def _probed(core: Any, name: str) -> Device:
    capabilities = set(core.get_property(name, "OPTIMIZATION_CAPABILITIES"))
    precisions = {ours for theirs, ours in _CAPABILITIES.items() if theirs in capabilities}
    if name == "CPU":
        precisions.add("fp16")  # stored in fp16, computed in f32
        if not forms_here("openvino"):
            precisions.discard("int8")
    return Device(
        name=_kind(name),
        description=str(core.get_property(name, "FULL_DEVICE_NAME")),
        precisions=tuple(p for p in _CAPABILITIES.values() if p in precisions),
    )
