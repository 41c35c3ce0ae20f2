"""ONNX Runtime: runs `.onnx` files."""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ghost_deploy.core.bundle import FORM_KEY, GUARD_KEY, sha256_of
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.cpu_cores import available_cores
from ghost_deploy.runtimes.int8_forms import forms_here, require_form, require_guard
from ghost_deploy.runtimes.ort_optimized import open_optimized
from ghost_deploy.runtimes.vendor import existing_file, fallback, vendor_errors, vendor_import

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_PROVIDERS = {"cpu": _CPU, "cuda": _CUDA, "gpu": _CUDA}
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_PRECISIONS = ("fp32", "fp16", "int8")
_QUIET = 3  # errors only: warnings would go straight to the user's terminal
_FIX_CUDA = "Install it with: pip uninstall -y onnxruntime && pip install onnxruntime-gpu"
_FIX_JETSON = "Install the onnxruntime-gpu wheel that was built for this JetPack release"
_FP16_ON_CPU = "operators that this CPU has no fp16 kernel for are computed in f32 between casts"
_ROUNDING = "this ONNX Runtime truncates float16 where it quantizes: quantized from f32 instead"
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")


class OrtRuntime(Runtime):
    """An ONNX file in ONNX Runtime. `run` returns new arrays on each call.

    Spinning: with the hint `latency` the worker threads spin between operators, which is fastest
    for a single model in a process; with `throughput` they sleep, because several spinning
    sessions compete for the cores. With `once` they sleep too, memory is returned as soon as it is
    free, and the optimized graph is kept in `options.cache_dir`.
    """

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        """Open `path`; see `open_model`."""
        with vendor_import("onnxruntime", "onnxruntime"):
            import onnxruntime
        asked, notes = _provider(onnxruntime, options)
        fix = "Export the model again, or update: pip install -U onnxruntime"
        with vendor_errors(f"ONNX Runtime cannot load {path}", fix):
            if asked == _CUDA and hasattr(onnxruntime, "preload_dlls"):
                # It finds the CUDA libraries of NVIDIA's pip packages, and prints what is missing.
                with contextlib.redirect_stdout(sys.stderr):
                    onnxruntime.preload_dlls()
            session = _open_session(onnxruntime, path, options, asked)
        stored = session.get_modelmeta().custom_metadata_map
        form = stored.get(FORM_KEY, "")
        if form.startswith("ort-x86") and asked == _CPU:
            require_guard(stored.get(GUARD_KEY, ""), where=str(path))
        if not options.any_form:
            require_form("ort", form, forms_here("ort"), where=str(path))
        if form.endswith("-fp16") and asked == _CPU:
            rounding = _rounding(onnxruntime, path, options)
            session, notes = (rounding, (*notes, _ROUNDING)) if rounding else (session, notes)
        got = session.get_providers()[0]
        if got != asked:
            notes += (fallback(options, f"ONNX Runtime could only open {got}", _cuda_fix()),)
        self._session: Any = session
        self.inputs = tuple(map(_tensor_spec, session.get_inputs()))
        self.outputs = tuple(map(_tensor_spec, session.get_outputs()))
        self._names = [spec.name for spec in self.outputs]
        if got == _CPU and options.precision == "fp16":
            notes += (_FP16_ON_CPU,)
        self.info = RuntimeInfo(
            runtime="ort",
            version=onnxruntime.__version__,
            device="cpu" if got == _CPU else f"cuda:{options.device_index}",
            precision="fp32" if options.precision == "bf16" else options.precision,
            threads=session.get_session_options().intra_op_num_threads,
            notes=notes,
        )

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        with vendor_errors("ONNX Runtime failed to run the model", "Check the input's size"):
            values = self._session.run(self._names, dict(feeds))
        return dict(zip(self._names, values, strict=True))

    def _fork(self) -> OrtRuntime:
        return copy.copy(self)  # sessions may be run by several threads

    def _metadata(self) -> dict[str, str]:
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def _close(self) -> None:
        self._session = None


def open_model(path: Path, options: RuntimeOptions) -> OrtRuntime:
    """Open an `.onnx` file.

    Devices: `cpu`, and `cuda[:N]` (also `gpu`) where the package has the CUDA provider. TF32
    is disabled on CUDA: fp32 is computed in float32.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        DeviceError: the device is not available, without fallback.
        BackendError: the file is missing, damaged or needs operators that this version lacks.
    """
    return OrtRuntime(existing_file(path), options)


def probe() -> Probe:
    """Report the version and providers of ONNX Runtime."""
    try:
        with vendor_import("onnxruntime", "onnxruntime"):
            import onnxruntime
    except GhostDeployError as error:
        return Probe.failed("ort", "onnxruntime", error)
    available = onnxruntime.get_available_providers()
    devices = [Device("cpu", precisions=_PRECISIONS)]
    if _CUDA in available:
        devices.append(Device("cuda", "checked when a model is opened", _PRECISIONS))
    details = {"providers": ", ".join(available)}
    if _CUDA not in available and _has_nvidia():
        details["cuda"] = f"this package has no CUDA provider. {_cuda_fix()}"
    problem, fix = _conflict()
    return Probe(
        "ort", True, onnxruntime.__version__, tuple(devices), details, problem=problem, fix=fix
    )


def _provider(onnxruntime: Any, options: RuntimeOptions) -> tuple[str, tuple[str, ...]]:
    """The provider to open with, and notes on allowed fallbacks."""
    notes: tuple[str, ...] = ()
    if options.precision == "bf16":
        what = "ONNX Runtime does not run an fp32 file in bf16"
        notes += (fallback(options, what, "Choose --runtime openvino for bf16"),)
    provider = _PROVIDERS.get(options.device_kind)
    if provider is None:
        fix = "Choose --device cpu or cuda, or another --runtime"
        return _CPU, (*notes, fallback(options, "ONNX Runtime has no such device", fix))
    available = onnxruntime.get_available_providers()
    if provider not in available:
        what = f"this onnxruntime package has no {provider}, only {', '.join(available)}"
        return _CPU, (*notes, fallback(options, what, _cuda_fix()))
    return provider, notes


def _open_session(onnxruntime: Any, path: Path, options: RuntimeOptions, provider: str) -> Any:
    """A session of `provider`, or of the CPU where that one is refused.

    ONNX Runtime's own fallback prints on standard output, and also tries again where the model is
    the cause.
    """

    def session(
        file: Path, save_to: Path | None = None, optimize: bool = True, *, on: str = _CPU
    ) -> Any:
        settings = _session_options(onnxruntime, options)
        levels = onnxruntime.GraphOptimizationLevel
        settings.graph_optimization_level = (
            levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
        )
        if save_to:
            settings.optimized_model_filepath = str(save_to)
        return onnxruntime.InferenceSession(
            str(file),
            settings,
            providers=_provider_list(on, options.device_index),
            enable_fallback=0,
        )

    if provider == _CPU:
        if options.hint == "once" and options.cache_dir:
            content = f"{onnxruntime.__version__} {options.sha256.get(path) or sha256_of(path)}"
            return open_optimized(path, options.cache_dir, content, session)
        return session(path)
    try:
        return session(path, on=provider)
    except Exception:  # its errors have no other common base
        return session(path)


def _rounding(onnxruntime: Any, path: Path, options: RuntimeOptions) -> Any:
    """A session on the CPU that rounds float16 where it quantizes; None if the usual one does."""
    from ghost_deploy.core.scratch import scratch_folder
    from ghost_deploy.runtimes import ort_float16

    if not ort_float16.truncates_float16(onnxruntime):
        return None
    with scratch_folder() as folder:
        copy = folder / path.name
        ort_float16.write_rounding_copy(path, copy, onnxruntime.__version__)
        return _open_session(onnxruntime, copy, replace(options, cache_dir=None), _CPU)


def _provider_list(provider: str, index: int) -> list[Any]:
    """The provider with its options; with CUDA, the CPU provider runs the shape operators."""
    if provider == _CPU:
        return [_CPU]
    # TF32 (10 bits of mantissa) is ONNX Runtime's default for float32 on Ampere and later.
    return [(_CUDA, {"device_id": str(index), "use_tf32": "0"}), _CPU]


def _session_options(onnxruntime: Any, options: RuntimeOptions) -> Any:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options.threads or available_cores()
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _QUIET
    if options.hint == "once":  # an arena keeps, and a pattern reserves, what a second run needs
        settings.enable_cpu_mem_arena = settings.enable_mem_pattern = False
    spin = "1" if options.hint == "latency" else "0"
    settings.add_session_config_entry("session.intra_op.allow_spinning", spin)
    return settings


def _tensor_spec(value: Any) -> TensorSpec:
    """The description of an onnxruntime NodeArg, whose symbolic sizes are texts or None."""
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return TensorSpec(value.name, shape, _DTYPES.get(value.type, value.type))


def _cuda_fix() -> str:
    return _FIX_JETSON if Path("/etc/nv_tegra_release").exists() else _FIX_CUDA


def _has_nvidia() -> bool:
    paths = ("/dev/nvidia0", "/dev/nvhost-gpu", "/etc/nv_tegra_release")
    return any(Path(path).exists() for path in paths)


def _conflict() -> tuple[str, str]:
    """Problem and fix if several onnxruntime packages are installed; empty for one."""
    from importlib import metadata

    found = []
    for package in _PACKAGES:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        found.append(package)
    if len(found) < 2:
        return "", ""
    together = " ".join(found)
    return (
        f"{', '.join(found)} are installed over each other",
        f"pip uninstall -y {together} && pip install {found[-1]}",
    )
