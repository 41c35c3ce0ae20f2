"""OpenVINO: runs `.xml` files."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ghost_deploy.core.bundle import FORM_KEY, GUARD_KEY, sha256_of
from ghost_deploy.core.errors import DeviceError, GhostDeployError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes.base import (
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.compiled_cache import CompiledCache
from ghost_deploy.runtimes.dot_product import read_dot_product
from ghost_deploy.runtimes.int8_forms import forms_here, require_guard
from ghost_deploy.runtimes.openvino_devices import (
    FIX_CHOICE,
    DeviceChoice,
    choose_device,
    compile_settings,
    our_name,
    probed_device,
)
from ghost_deploy.runtimes.openvino_info import info_of
from ghost_deploy.runtimes.openvino_package import import_openvino
from ghost_deploy.runtimes.openvino_pixels import with_pixel_input
from ghost_deploy.runtimes.vendor import existing_file, fallback, vendor_errors, vendor_import

_UNNAMED = "output"
# OpenVINO 2026.4: on a Cortex-A76 48 of 52 int8 convolutions run as `ref_any_f16`, on a Cortex-A72
# compiling ends with "object is not initialized"; both emulated.
_INT8_ON_ARM = (
    "it computes most int8 convolutions in its reference kernels there, slower than float, or "
    "does not compile them"
)


class OvRuntime(Runtime):
    """An OpenVINO IR. Outputs are views of the infer request's tensors, valid until the next run.

    A contiguous, writable feed is read in place; OpenVINO copies any other.
    """

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        """Open `path`; see `open_model`."""
        with vendor_import("openvino", "openvino"):
            openvino = import_openvino()
        core = _core()
        choice = choose_device(core, options)
        config = compile_settings(options, choice)
        pixel_model = _pixel_model(core, path, options, choice)
        without_weights = options.hint == "once" and _caches_without_weights(openvino, choice)
        form = f"{choice.hint} pixels={pixel_model is not None} whole={not without_weights}"
        cache, notes = _cache(path, options, form)
        if cache:
            config["CACHE_DIR"] = str(cache.folder)
            if without_weights:  # of a single run: they would have to be hashed once more
                config["CACHE_MODE"] = "OPTIMIZE_SIZE"
        fix = "Export the model again, or update: pip install -U openvino"
        if choice.device == "CPU" and options.precision in ("", "int8"):
            _require_guard(core, path, known=options.precision == "int8")
        with vendor_errors(f"OpenVINO cannot load {path}", fix):
            compiled = core.compile_model(pixel_model or str(path), choice.device, config)
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
        if our_name(device) != our_name(choice.device) or compute != choice.hint:
            what = f"OpenVINO computes on {device} in {compute}"
            notes += (fallback(options, what, FIX_CHOICE),)
        self._path = path
        self._compiled: Any = compiled
        self.info = RuntimeInfo(
            runtime="openvino",
            version=_version(openvino),
            device=our_name(device),
            precision=choice.precision,
            compute=compute,
            threads=threads,
            notes=choice.notes + notes,
            streams=streams,
            queued=int(streams > 1),  # with a single stream it gains nothing
            pixel_input=pixel_model is not None,
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
            devices = tuple(probed_device(core, name) for name in core.available_devices)
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


def _pixel_model(
    core: Any, path: Path, options: RuntimeOptions, choice: DeviceChoice
) -> Any | None:
    """The int8 model of `path` with pixels as its input, if that is asked for and possible.

    Not for a single run, which is over sooner when OpenVINO finds its compiled model by the path.
    """
    may = choice.device == "CPU" and options.precision in ("", "int8") and options.hint != "once"
    info = (info_of(path) or {}) if may and options.pixel_input else {}
    if FORM_KEY not in info or ModelSpec.Json not in info:
        return None
    spec = ModelSpec.from_json(info[ModelSpec.Json], where=str(path))
    with vendor_errors(f"OpenVINO cannot read {path}", "Export the model again"):
        return with_pixel_input(core.read_model(str(path)), spec.input, import_openvino())


def _version(openvino: Any) -> str:
    """`2026.4.1` for `2026.4.1-22982-e213a147257-releases/2026/4`."""
    return str(openvino.__version__).split("-")[0]


@functools.cache
def _core() -> Any:
    """The OpenVINO core of the process, which loads each device plugin once."""
    return import_openvino().Core()


def _caches_without_weights(openvino: Any, choice: DeviceChoice) -> bool:
    """Whether this version knows the property CACHE_MODE: the CPU plugin refuses it before 2025.4,
    and no version lists it among the properties that it supports.
    """
    release = tuple(int(part) for part in _version(openvino).split(".")[:2])
    return choice.device == "CPU" and release >= (2025, 4)


def _cache(
    path: Path, options: RuntimeOptions, form: str
) -> tuple[CompiledCache | None, tuple[str, ...]]:
    """The cache of a model in one compiled form, and a note if it cannot be used."""
    if options.cache_dir is None:
        return None, ()
    digest = hashlib.sha256(form.encode())
    for file in (path, path.with_suffix(".bin")):
        if file.is_file():
            digest.update((options.sha256.get(file) or sha256_of(file)).encode())
    cache = CompiledCache(options.cache_dir, digest.hexdigest()[:16])
    problem = cache.prepare()
    return (None, (problem,)) if problem else (cache, ())


def _tensor_spec(port: Any) -> TensorSpec:
    """The description of `port`, an OpenVINO input or output of a compiled model."""
    shape = tuple(size.get_length() if size.is_static else -1 for size in port.get_partial_shape())
    # Graphs converted from PyTorch have outputs without a name.
    name = port.get_any_name() if port.get_names() else f"{_UNNAMED}{port.get_index()}"
    return TensorSpec(name, shape, port.get_element_type().to_dtype().name)
