"""Rockchip's NPUs: runs `.rknn` files through rknn-toolkit-lite2, or in the toolkit's simulator.

Rockchip's interface reports errors by return values and prints the reason: every value is looked
at, and the shapes of all outputs are compared with the description.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, DeviceError, GhostDeployError, MissingExtraError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.rockchip import (
    CORES,
    SOCS,
    RknnDescription,
    board_soc,
    read_description,
    simulation_of,
    socs_here,
)
from ghost_deploy.runtimes.vendor import existing_file, fallback, vendor_errors, vendor_import

_PACKAGE, _DISTRIBUTION = "rknnlite", "rknn-toolkit-lite2"
_MAGIC = b"RKNN"
_PRECISIONS = ("fp16", "int8")
_MASKS = {2: "NPU_CORE_0_1", 3: "NPU_CORE_0_1_2"}
_SIMULATED = "computed by the simulator of rknn-toolkit2, not by a board"
_FIX_DEVICE = "Choose --device npu"


class RknnRuntime(Runtime):
    """A `.rknn` file. `run` returns new arrays on each call.

    Args:
        about: its description.
        run: from pixels to the outputs, in their order.
        release: frees the NPU.
        info: what was obtained.
    """

    def __init__(
        self,
        about: RknnDescription,
        run: Callable[[NDArray[Any]], list[NDArray[Any]] | None],
        release: Callable[[], object],
        info: RuntimeInfo,
    ) -> None:
        spec = about.spec
        self._about, self._call, self._release, self.info = about, run, release, info
        self.inputs = (TensorSpec(spec.input.name, spec.input.graph_shape(), spec.input.dtype),)
        shapes = spec.output_shapes()
        self.outputs = tuple(TensorSpec(name, shape, "float32") for name, shape in shapes.items())

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        pixels = np.ascontiguousarray(feeds[self.inputs[0].name])
        with vendor_errors("the NPU failed to run the model", "Check the log of the board: dmesg"):
            found = self._call(pixels)
        if found is None:
            raise BackendError(
                "the NPU failed to run the model",
                got="no outputs; rknn-toolkit-lite2 has printed the reason",
                fix="Check that librknnrt.so and the driver are of the version of the file",
            )
        shapes = [tuple(output.shape) for output in found]
        if shapes != [spec.shape for spec in self.outputs]:
            raise BackendError(
                "the outputs of the NPU are not those of the description",
                got=shapes,
                expected=[spec.shape for spec in self.outputs],
                fix="Export the model again with --rknn",
            )
        named = zip(self.outputs, found, strict=True)
        return {spec.name: np.asarray(output, np.float32) for spec, output in named}

    def _metadata(self) -> dict[str, str]:
        return {
            ModelSpec.Json: self._about.spec.to_json().decode(),
            "ghost_deploy.target": self._about.target,
        }

    def _close(self) -> None:
        self._release()
        self._call = lambda _: None


def open_model(path: Path, options: RuntimeOptions) -> RknnRuntime:
    """Open a `.rknn` file on the NPU of this board.

    Devices: `npu`, any free core, or `npu:N`, one of them. With `threads` of 2 or 3 so many cores
    share each run, where the NPU has them. While an export has the file open in the toolkit's
    simulator, it is opened there, on any device, and `RuntimeInfo.simulated` says so.

    Raises:
        MissingExtraError: rknn-toolkit-lite2 is not installed.
        DeviceError: the board has another NPU than the file is for, or there is no such core.
        BackendError: the file or its description is missing or damaged, or the NPU refuses it.
    """
    existing_file(path)
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise BackendError(
                f"{path} is no RKNN file", fix="Export the checkpoint with --rknn --for SOC"
            )
    about = read_description(path)
    simulation = simulation_of(path)
    if simulation is not None:
        info = RuntimeInfo(
            runtime="rknn",
            version=simulation.version,
            device="simulator",
            precision=options.precision,
            compute="f16" if options.precision == "fp16" else "",
            notes=(_SIMULATED,),
            simulated=True,
        )
        return RknnRuntime(about, simulation.run, lambda: None, info)
    return _open_on_board(path, about, options)


@contextmanager
def _lite_import() -> Iterator[None]:
    """`vendor_import` of rknn-toolkit-lite2, which is made for 64-bit ARM alone.

    Raises:
        MissingExtraError: it is not installed; where it cannot be, the message says so.
    """
    try:
        with vendor_import(_PACKAGE, "rknn"):
            yield
    except MissingExtraError as error:
        if platform.machine().lower() in ("aarch64", "arm64"):
            raise
        fix = "It runs on Rockchip boards only, there is nothing to install on this machine"
        raise MissingExtraError(error.what, got=error.got, fix=fix) from error


def probe() -> Probe:
    """Report the version of rknn-toolkit-lite2, and the NPU of this board."""
    try:
        with _lite_import():
            import rknnlite  # noqa: F401  named in the error where it is missing
            from rknnlite.api import RKNNLite  # noqa: F401  its library loads
    except GhostDeployError as error:
        return Probe.failed("rknn", _PACKAGE, error)
    soc = board_soc()
    if not soc:
        problem = "this machine has none of Rockchip's NPUs that it runs on"
        fix = "Run it on a board with one of: " + ", ".join(SOCS)
        return Probe("rknn", True, _version(), problem=problem, fix=fix)
    cores = CORES.get(soc, 1)
    what = f"{soc}, {cores} core{'' if cores == 1 else 's'}"
    details = {"files": "runs those made for " + ", ".join(socs_here())}
    return Probe("rknn", True, _version(), (Device("npu", what, _PRECISIONS),), details)


def _open_on_board(path: Path, about: RknnDescription, options: RuntimeOptions) -> RknnRuntime:
    with _lite_import():
        import rknnlite  # noqa: F401  named in the error where it is missing
        from rknnlite.api import RKNNLite
    _require_board(path, about)
    mask, notes = _core_mask(options)
    with vendor_errors(f"rknn-toolkit-lite2 cannot load {path}", _fix_version()):
        lite = RKNNLite(verbose=False)
        try:
            _require_zero("load_rknn", lite.load_rknn(str(path)), path)
            _require_zero(
                "init_runtime", lite.init_runtime(core_mask=getattr(RKNNLite, mask)), path
            )
        except BaseException:
            lite.release()
            raise
    info = RuntimeInfo(
        runtime="rknn",
        version=_version(),
        device=options.device if options.device_kind == "npu" else "npu",
        precision=options.precision if options.precision in _PRECISIONS else "",
        compute="f16" if options.precision == "fp16" else "",
        notes=notes,
    )

    layouts = [about.spec.input.layout]

    def run(pixels: NDArray[Any]) -> list[NDArray[Any]] | None:
        found: list[NDArray[Any]] | None = lite.inference(inputs=[pixels], data_format=layouts)
        return found

    return RknnRuntime(about, run, lite.release, info)


def _require_board(path: Path, about: RknnDescription) -> None:
    here = socs_here()
    if about.target not in here:
        raise DeviceError(
            f"{path} is made for the NPU of {about.target}",
            got=f"a board with {here[0]}" if here else "a machine without a Rockchip NPU",
            expected=about.target,
            fix=f"Export it for this board: --rknn --for {here[0]}"
            if here
            else "Run it on such a board",
        )


def _core_mask(options: RuntimeOptions) -> tuple[str, tuple[str, ...]]:
    """The name of the mask in `RKNNLite`, and a note on an allowed fallback."""
    soc = board_soc()
    cores = CORES.get(soc, 1)
    mask, what, fix = "NPU_CORE_AUTO", "", _FIX_DEVICE
    if options.device_kind != "npu":
        what = "RKNN files run on an NPU alone"
    elif options.precision not in ("", *_PRECISIONS):
        what, fix = f"RKNN files are computed in {' or '.join(_PRECISIONS)}", "Choose one of those"
    elif options.device != "npu" and options.device_index < cores:
        mask = f"NPU_CORE_{options.device_index}"
    elif options.device != "npu":
        what = f"the NPU of {soc} has {cores} core{'' if cores == 1 else 's'}"
    elif options.threads > cores > 1 or options.threads > cores + 1:
        what = f"the NPU of {soc} has no {options.threads} cores to share a run"
        fix = f"Choose at most {cores} threads"
    elif 1 < options.threads <= cores:
        mask = _MASKS[options.threads]
    return mask, (fallback(options, what, fix),) if what else ()


def _require_zero(call: str, code: Any, path: Path) -> None:
    if code != 0:
        raise BackendError(
            f"rknn-toolkit-lite2 cannot load {path}",
            got=f"{call} returned {code}; it has printed the reason",
            fix=_fix_version(),
        )


def _fix_version() -> str:
    return (
        "Check that librknnrt.so and the NPU's driver are of the version of the file or newer, "
        "or export the model again"
    )


def _version() -> str:
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "unknown"
