"""The table of runtimes, and opening a file with one of them.

A backend is imported only when it is opened or probed: listing the table imports no vendor
package, and an edge device needs only the package that it uses.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ghost_deploy.core.lookup import entry_of
from ghost_deploy.runtimes.base import Probe, Runtime, RuntimeOptions
from ghost_deploy.runtimes.int8_forms import forms_here
from ghost_deploy.runtimes.rockchip import socs_here

NO_FILE = Path()
"""What is opened of a model on a server, which `RuntimeOptions.server` names."""


@dataclass(frozen=True)
class RuntimeRow:
    """A backend: its module, its vendor package and the files that it opens.

    `module` defines `open_model(path, options) -> Runtime` and `probe() -> Probe` and imports the
    vendor package only inside them.

    Attributes:
        name: as the user types it.
        module: dotted path of our module.
        package: the vendor's Python package.
        extra: pip extra that installs that package.
        format: artifact format that it opens.
        suffixes: file name suffixes of that format.
        precisions: for each artifact precision, the precisions it can be run in, default first.
        devices: supported kinds of device, as in `RuntimeOptions.device`.
        forms: int8 forms (`Artifact.form`) that it executes in int8; of RKNN files the targets
            that this board runs.
        remote: a server runs the model, `RuntimeOptions.server`: it runs artifacts of every format
            and is only taken by name.
        int8_repeats: whether int8 files give equal outputs on all processors. Else the float steps
            between exact sums differ in the last digit by instruction set, and a value on the
            border of two levels is rounded the other way.
    """

    name: str
    module: str
    package: str
    extra: str
    format: str
    suffixes: tuple[str, ...]
    precisions: dict[str, tuple[str, ...]]
    devices: tuple[str, ...]
    forms: tuple[str, ...] = ()
    int8_repeats: bool = True
    remote: bool = False

    @property
    def installed(self) -> bool:
        """Whether the vendor package is installed; the package is not imported."""
        return importlib.util.find_spec(self.package) is not None


RUNTIMES: dict[str, RuntimeRow] = {
    row.name: row
    for row in (
        RuntimeRow(
            name="openvino",
            module="ghost_deploy.runtimes.openvino",
            package="openvino",
            extra="openvino",
            format="openvino",
            suffixes=(".xml",),
            precisions={"fp32": ("fp32", "bf16"), "fp16": ("fp16",), "int8": ("int8",)},
            devices=("cpu", "gpu", "npu"),
            forms=forms_here("openvino"),
        ),
        RuntimeRow(
            name="trt",
            module="ghost_deploy.runtimes.tensorrt.runtime",
            package="tensorrt",
            extra="tensorrt",
            format="tensorrt",
            suffixes=(".plan", ".engine"),
            precisions={"fp32": ("fp32",), "fp16": ("fp16",), "int8": ("int8",)},
            devices=("cuda", "gpu", "dla"),
            forms=("tensorrt",),
        ),
        RuntimeRow(
            name="ort",
            module="ghost_deploy.runtimes.ort",
            package="onnxruntime",
            extra="onnxruntime",
            format="onnx",
            suffixes=(".onnx",),
            precisions={"fp32": ("fp32",), "fp16": ("fp16",), "int8": ("int8",)},
            devices=("cpu", "cuda", "gpu"),
            forms=forms_here("ort"),
        ),
        RuntimeRow(
            name="litert",
            module="ghost_deploy.runtimes.litert",
            package="ai_edge_litert",
            extra="litert",
            format="litert",
            suffixes=(".tflite",),
            precisions={"fp32": ("fp32",)},
            devices=("cpu",),
        ),
        RuntimeRow(
            name="rknn",
            module="ghost_deploy.runtimes.rknn",
            package="rknnlite",
            extra="rknn",
            format="rknn",
            suffixes=(".rknn",),
            precisions={"fp16": ("fp16",), "int8": ("int8",)},
            devices=("npu",),
            forms=socs_here(),
        ),
        RuntimeRow(
            name="ncnn",
            module="ghost_deploy.runtimes.ncnn",
            package="ncnn",
            extra="ncnn",
            format="ncnn",
            suffixes=(".param",),
            precisions={"fp32": ("fp32",), "fp16": ("fp16",), "int8": ("int8",)},
            devices=("cpu",),
            forms=forms_here("ncnn"),
            int8_repeats=False,
        ),
        RuntimeRow(
            name="eager",
            module="ghost_deploy.runtimes.eager",
            package="torch",
            extra="export",
            format="checkpoint",
            suffixes=(".pt", ".safetensors"),
            precisions={"fp32": ("fp32",)},
            devices=("cpu", "cuda", "gpu"),
        ),
        RuntimeRow(
            name="kserve",
            module="ghost_deploy.runtimes.kserve.kserve_runtime",
            package="tritonclient",
            extra="kserve",
            format="",
            suffixes=(),
            precisions={},
            devices=(),
            remote=True,
        ),
    )
}
"""All backends that open files, in order of preference: `auto` takes the first that is installed,
supports the device and has a file. `FakeRuntime` opens no files and has no row."""


def runtime_row(name: str) -> RuntimeRow:
    """Return the row of the runtime `name`.

    Raises:
        UsageError: unknown name; the message lists the known ones.
    """
    return entry_of(RUNTIMES, name, "runtime")


def open_file(name: str, path: Path, options: RuntimeOptions | None = None) -> Runtime:
    """Open one model file with the named backend.

    Args:
        name: a key of `RUNTIMES`.
        path: the model file; of a remote runtime it is not read.
        options: device, precision, threads; default: CPU with the defaults of the backend.

    Raises:
        UsageError: unknown runtime.
        MissingExtraError: its vendor package is not installed.
        DeviceError: the device or precision obtained is not the requested one.
        BackendError: the backend cannot load the file.
    """
    module = importlib.import_module(runtime_row(name).module)
    opener = cast("Callable[[Path, RuntimeOptions], Runtime]", module.open_model)
    return opener(Path(path), options or RuntimeOptions())


def probe(name: str) -> Probe:
    """Report version and devices of the named backend; a missing package is no error."""
    module = importlib.import_module(runtime_row(name).module)
    return cast("Probe", module.probe())
