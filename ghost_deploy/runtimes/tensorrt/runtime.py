"""The TensorRT runtime, for 8.5 to 11, with named tensors and the CUDA runtime library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, GhostDeployError, MissingExtraError, ShapeError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.tensorrt import compat
from ghost_deploy.runtimes.tensorrt.cuda_calls import Cudart
from ghost_deploy.runtimes.tensorrt.cudart import describe_gpu, open_cudart
from ghost_deploy.runtimes.tensorrt.device_choice import ChosenDevice, choose_device, precision_note
from ghost_deploy.runtimes.tensorrt.execution import Execution, Shape
from ghost_deploy.runtimes.tensorrt.fingerprint import require_match, this_machine
from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog
from ghost_deploy.runtimes.tensorrt.plan_file import EngineFile, read_plan
from ghost_deploy.runtimes.tensorrt.releases import known_problems
from ghost_deploy.runtimes.vendor import existing_file, vendor_errors


@dataclass(frozen=True, eq=False)
class _Loaded:
    """A deserialized engine with everything that its forks share.

    The engine comes before the runtime that created it, so that it is freed first.
    """

    engine: Any
    runtime: Any
    log: TensorrtLog
    api: compat.TensorrtApi
    cuda: Cudart
    gpu: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    ranges: Mapping[str, tuple[Shape, Shape]]
    metadata: Mapping[str, str]


class TensorrtRuntime(Runtime):
    """A TensorRT plan on a GPU or a DLA core.

    Ownership: `run` returns views of page-locked memory that the next `run` overwrites. They stay
    valid after `close`.

    A plan of fixed shape is run once on zeros when it is opened, and recorded as a CUDA graph if
    possible; otherwise `info.notes` has the reason.
    """

    def __init__(self, loaded: _Loaded, info: RuntimeInfo) -> None:
        """Create an execution context for a loaded engine; see `open_model`."""
        self._loaded: _Loaded | None = loaded
        self.inputs, self.outputs, self.info = loaded.inputs, loaded.outputs, info
        largest = {name: high for name, (_, high) in loaded.ranges.items()}
        self._execution = Execution(
            loaded.cuda,
            loaded.gpu,
            _new_context(loaded),
            loaded.inputs,
            loaded.outputs,
            largest,
            loaded.log.last,
        )
        if largest or info.device.startswith("dla"):
            return  # a CUDA graph has one shape and does not support DLA
        try:
            note = self._execution.record()
        except BaseException:
            self._execution.close()
            raise
        if note:
            self.info = replace(info, notes=(*info.notes, note))

    def device_ms(self, count: int = 100) -> list[float]:
        """Milliseconds on the device, without copies, of each of `count` runs on the last feeds.

        Raises:
            BackendError: a run failed or the runtime is closed.
        """
        self._check_open()
        return self._execution.device_ms(count)

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        return self._execution.run(feeds)

    def _check(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        super()._check(feeds)
        assert self._loaded is not None, "an open runtime has its engine"
        for name, (low, high) in self._loaded.ranges.items():
            shape = feeds[name].shape
            if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
                raise ShapeError(
                    f"input {name!r} is outside the range that the plan was built for",
                    got=shape,
                    expected=f"{low} to {high}",
                    fix="Choose a size within it, or build the plan again for a wider one",
                )

    def _fork(self) -> Runtime | None:
        loaded = self._loaded
        assert loaded is not None, "an open runtime has its engine"
        # Before TensorRT 10 each context of a dynamic engine needs its own optimization profile,
        # and a plan has one.
        if loaded.ranges and not loaded.api.shared_profiles:
            return None
        return TensorrtRuntime(loaded, self.info)

    def _metadata(self) -> dict[str, str]:
        assert self._loaded is not None, "an open runtime has its engine"
        return dict(self._loaded.metadata)

    def _close(self) -> None:
        try:
            self._execution.close()
        finally:
            self._loaded = None


def open_model(path: Path, options: RuntimeOptions) -> TensorrtRuntime:
    """Open a plan: with a sidecar, without, or of Ultralytics.

    Devices: `cuda[:N]` (also `gpu`), or `dla:N` for a plan that was built for a DLA core. All
    device memory is allocated now, for the largest input that the plan accepts.

    Raises:
        MissingExtraError: tensorrt is not installed.
        DeviceError: no such device and no fallback allowed, no driver, or the plan was built for
            another machine or TensorRT.
        BackendError: the file is missing or damaged, out of memory, or TensorRT rejects it.
    """
    plan = read_plan(existing_file(path))
    api = compat.load()
    cuda = open_cudart()
    sidecar = plan.sidecar
    place = choose_device(
        options,
        cuda.device_count(),
        known=sidecar is not None,
        built_for=None if sidecar is None else sidecar.fingerprint.dla,
    )
    own = "" if sidecar is None else sidecar.precision
    notes = (*place.notes, *precision_note(options, own))
    loaded = _load(api, cuda, place, plan)
    info = RuntimeInfo(
        runtime="trt",
        version=api.text,
        device=place.device,
        precision=own or options.precision,
        notes=notes,
    )
    return TensorrtRuntime(loaded, info)


def probe() -> Probe:
    """Report TensorRT, its devices and the known problems of its version."""
    try:
        api = compat.load()
    except GhostDeployError as error:
        installed = not isinstance(error, MissingExtraError)
        problem = f"{error.what}: {error.got}" if installed and error.got else error.what
        return Probe("trt", installed, problem=problem, fix=error.fix)
    known = [f"{entry.what}. {entry.fix}" for entry in known_problems(api.release)]
    details = {"known problems": " · ".join(known)} if known else {}
    try:
        cuda = open_cudart()
        devices = tuple(_probed_gpu(index) for index in range(cuda.device_count()))
        cores = compat.num_dla_cores(_probe_runtime(api))
        own, driver = cuda.versions()
    except GhostDeployError as error:
        return Probe("trt", True, api.text, (), details, problem=error.what, fix=error.fix)
    devices += tuple(Device(f"dla:{core}", "DLA core", ("fp16", "int8")) for core in range(cores))
    details["CUDA"] = f"{_version(own)} ({cuda.library}), driver up to {_version(driver)}"
    return Probe("trt", True, api.text, devices, details)


def _new_context(loaded: _Loaded) -> Any:
    what, fix = "TensorRT cannot make an execution context", "Free GPU memory, or build it again"
    loaded.cuda.set_device(loaded.gpu)
    with vendor_errors(what, fix):
        context = loaded.engine.create_execution_context()
    if context is None:
        raise BackendError(what, got=loaded.log.last() or None, fix=fix)
    return context


def _load(api: compat.TensorrtApi, cuda: Cudart, place: ChosenDevice, plan: EngineFile) -> _Loaded:
    """Deserialize a plan after comparing its fingerprint with this machine."""
    cuda.set_device(place.gpu)
    log, sidecar = TensorrtLog(), plan.sidecar
    logger = log.listen(api)
    runtime = compat.new_runtime(api, logger, log.last)
    if sidecar is not None:
        cores = compat.num_dla_cores(runtime)
        machine = this_machine(api.text, describe_gpu(place.gpu))
        require_match(sidecar.fingerprint, machine, path=plan.path, dla_cores=cores)
    compat.load_plugins(api, logger)
    engine = compat.deserialize(
        runtime,
        plan.data,
        what=str(plan.path),
        dla=place.dla,
        version_compatible=sidecar is not None and sidecar.fingerprint.version_compatible,
        why=log.last,
    )
    tensors = compat.io_tensors(engine)
    inputs, outputs = (
        tuple(TensorSpec(t.name, t.shape, t.dtype) for t in tensors if t.is_input is wanted)
        for wanted in (True, False)
    )
    shapes = {t.name: compat.profile_shapes(engine, t.name) for t in inputs if -1 in t.shape}
    spec = plan.spec(outputs[0].shape if outputs else None)
    return _Loaded(
        engine=engine,
        runtime=runtime,
        log=log,
        api=api,
        cuda=cuda,
        gpu=place.gpu,
        inputs=inputs,
        outputs=outputs,
        ranges={name: (low, high) for name, (low, _, high) in shapes.items()},
        metadata={} if spec is None else {ModelSpec.Json: spec.to_json().decode()},
    )


def _probe_runtime(api: compat.TensorrtApi) -> Any:
    log = TensorrtLog()
    return compat.new_runtime(api, log.listen(api), log.last)


def _probed_gpu(index: int) -> Device:
    gpu = describe_gpu(index)
    shared = " shared with the CPU" if gpu.integrated else ""
    what = (
        f"{gpu.name}, compute capability {gpu.compute_capability}, "
        f"{gpu.total_bytes / 2**30:.1f} GiB{shared}"
    )
    return Device(f"cuda:{index}", what, ("fp32", "fp16", "int8"))


def _version(cuda: int) -> str:
    return f"{cuda // 1000}.{cuda % 1000 // 10}"
