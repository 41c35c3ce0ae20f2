"""NCNN: runs `.param` files with their `.bin` and our `.json`, see `ncnn_description`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.bundle import FORM_KEY
from ghost_deploy.core.errors import BackendError, GhostDeployError, ShapeError
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.cpu_cores import available_cores
from ghost_deploy.runtimes.int8_forms import forms_here, require_form
from ghost_deploy.runtimes.ncnn_description import NcnnDescription
from ghost_deploy.runtimes.vendor import existing_file, fallback, vendor_errors, vendor_import

_PRECISIONS = ("fp32", "fp16", "int8")
_AGAIN = "Copy the whole folder again, or export the model again"


class NcnnRuntime(Runtime):
    """An NCNN network. `run` returns new arrays on each call; images of a batch are run in turn.

    NCNN reports by return codes alone and takes an input of a foreign size for a right one, so
    that codes and shapes are checked at each step.
    """

    def __init__(
        self, net: Any, description: NcnnDescription, info: RuntimeInfo, where: Path
    ) -> None:
        self._net = net
        self._description = description
        self._where = where
        self.info = info
        self.inputs, self.outputs = (
            tuple(TensorSpec(each.name, each.shape, "float32") for each in tensors)
            for tensors in (description.inputs, description.outputs)
        )

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        count = len(next(iter(arrays.values())))
        rows = [self._run_one({n: each[row] for n, each in arrays.items()}) for row in range(count)]
        return {
            spec.name: np.stack([row[index] for row in rows])
            for index, spec in enumerate(self.outputs)
        }

    def _run_one(self, image: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Copies of the outputs for one image: NCNN's memory ends with the extractor."""
        import ncnn

        what = f"NCNN failed to run {self._where.name}"
        # An extractor that outlives its network ends the process.
        with vendor_errors(what, "Check the input's size"), self._net.create_extractor() as one:
            for name, array in image.items():
                # A copy: a layer that works in place would end the process on memory of NumPy's.
                mat = ncnn.Mat(array).clone()
                _check_code(one.input(name, mat), what, f"input {name!r}")
            found = []
            for spec in self.outputs:
                code, mat = one.extract(spec.name)
                _check_code(code, what, f"output {spec.name!r}")
                array = np.array(mat, np.float32)  # a copy
                if not TensorSpec(spec.name, spec.shape[1:], "float32").accepts(array):
                    raise ShapeError(
                        f"{self._where} gave an output {spec.name!r} of another size",
                        got=array.shape,
                        expected=spec.shape[1:],
                        fix="Export the model again for this input size",
                    )
                found.append(array)
        return found

    def _fork(self) -> NcnnRuntime:
        return NcnnRuntime(self._net, self._description, self.info, self._where)

    def _metadata(self) -> dict[str, str]:
        return dict(self._description.metadata)

    def _close(self) -> None:
        self._net = None


def open_model(path: Path, options: RuntimeOptions) -> NcnnRuntime:
    """Open the `.param` file of an NCNN network.

    Everything but int8 layers is computed in float32, files in fp16 too: NCNN's float16 arithmetic,
    on ARM, moves scores by 0.06 and boxes by more than a pixel, which no gate of ours lets pass.

    Raises:
        MissingExtraError: ncnn is not installed.
        DeviceError: another device than the CPU, without fallback.
        BackendError: a file is missing or damaged, or nothing describes it.
    """
    existing_file(path)
    with vendor_import("ncnn", "ncnn"):
        import ncnn
    description = NcnnDescription.read(path)
    form = description.metadata.get(FORM_KEY, "")
    if not options.any_form:
        require_form("ncnn", form, forms_here("ncnn"), where=str(path))
    notes = _notes(options)
    net = ncnn.Net()
    threads = options.threads or available_cores()
    _set_options(net.opt, threads)
    _load(net, path, description)
    if options.precision == "fp16":
        notes += ("the weights are stored in fp16, computed in f32",)
    info = RuntimeInfo(
        runtime="ncnn",
        version=str(ncnn.__version__),
        device="cpu",
        precision="fp32" if options.precision == "bf16" else options.precision,
        compute="f32",
        threads=threads,
        notes=notes,
    )
    return NcnnRuntime(net, description, info, path)


def probe() -> Probe:
    """Report the version of NCNN."""
    try:
        with vendor_import("ncnn", "ncnn"):
            import ncnn
    except GhostDeployError as error:
        return Probe.failed("ncnn", "ncnn", error)
    details = {"fp16": "stored in fp16, computed in f32"}
    return Probe("ncnn", True, str(ncnn.__version__), (Device("cpu", "", _PRECISIONS),), details)


def _notes(options: RuntimeOptions) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if options.device_kind != "cpu":
        fix = "Choose --device cpu, or another --runtime"
        notes += (fallback(options, "NCNN runs on the CPU here", fix),)
    if options.precision == "bf16":
        fix = "Choose --precision fp32 or fp16"
        notes += (fallback(options, "NCNN is not run in bf16, which is too coarse", fix),)
    return notes


def _set_options(options: Any, threads: int) -> None:
    options.num_threads = threads
    options.use_vulkan_compute = False
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(options, name, False)  # on by default, on ARM
    for name in ("use_bf16_packed", "use_bf16_storage"):
        if hasattr(options, name):
            setattr(options, name, False)


def _load(net: Any, path: Path, description: NcnnDescription) -> None:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise BackendError(f"{path} has no weights", got=f"no file {weights.name}", fix=_AGAIN)
    what = f"NCNN cannot load {path}"
    with vendor_errors(what, _AGAIN):
        _check_code(net.load_param(str(path)), what, "load_param")
        _check_code(net.load_model(str(weights)), what, "load_model")
        # Their order is that of no file.
        found = {*net.input_names()}, {*net.output_names()}
    wanted = {e.name for e in description.inputs}, {e.name for e in description.outputs}
    if found != wanted:
        raise BackendError(
            f"{path} is not the network that {description.path(path).name} describes",
            got=f"inputs {sorted(found[0])}, outputs {sorted(found[1])}",
            expected=f"inputs {sorted(wanted[0])}, outputs {sorted(wanted[1])}",
            fix=_AGAIN,
        )


def _check_code(code: int, what: str, step: str) -> None:
    if code != 0:
        raise BackendError(what, got=f"{step} returned {code}", fix=_AGAIN)
