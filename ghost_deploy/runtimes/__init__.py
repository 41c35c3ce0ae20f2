"""Inference backends behind one interface, one row each.

A backend is imported only when it is opened or probed, so that listing them costs nothing and
an edge box needs only the vendor package it uses.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ghost_deploy.core.errors import UsageError
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.int8_forms import ort_form

__all__ = [
    "RUNTIMES",
    "Device",
    "Probe",
    "Row",
    "Runtime",
    "RuntimeInfo",
    "RuntimeOptions",
    "TensorSpec",
    "open_file",
    "probe",
    "runtime_row",
]


@dataclass(frozen=True)
class Row:
    """A backend: where it lives, what it opens and what brings it.

    `module` has two functions, `open_model(path, options) -> Runtime` and `probe() -> Probe`;
    it imports its vendor's package only inside them.

    Attributes:
        name: as the user types it.
        module: our module.
        package: the vendor's Python package.
        extra: the pip extra that brings that package.
        format: artifact format that it opens.
        suffixes: file name endings of that format.
        precisions: for each artifact precision, the precisions it can be run in, default first.
        devices: kinds of device that it may have, as in `RuntimeOptions.device`.
        forms: int8 forms (`Artifact.form`) that it runs as they are meant.
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

    @property
    def installed(self) -> bool:
        """Whether the vendor's package is on this machine; it is not imported to know."""
        return importlib.util.find_spec(self.package) is not None


RUNTIMES: dict[str, Row] = {
    row.name: row
    for row in (
        Row(
            name="openvino",
            module="ghost_deploy.runtimes.openvino",
            package="openvino",
            extra="openvino",
            format="openvino",
            suffixes=(".xml",),
            precisions={"fp32": ("fp32", "bf16"), "fp16": ("fp16",), "int8": ("int8",)},
            devices=("cpu", "gpu", "npu"),
            forms=("openvino",),
        ),
        Row(
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
        Row(
            name="ort",
            module="ghost_deploy.runtimes.ort",
            package="onnxruntime",
            extra="onnxruntime",
            format="onnx",
            suffixes=(".onnx",),
            precisions={"fp32": ("fp32",), "fp16": ("fp16",), "int8": ("int8",)},
            devices=("cpu", "cuda", "gpu"),
            forms=(ort_form(),),
        ),
        Row(
            name="eager",
            module="ghost_deploy.runtimes.eager",
            package="torch",
            extra="export",
            format="checkpoint",
            suffixes=(".pt", ".safetensors"),
            precisions={"fp32": ("fp32",)},
            devices=("cpu", "cuda", "gpu"),
        ),
    )
}
"""All backends that open files. Order is preference: `auto` takes the first that is installed,
knows the device and has a file. `FakeRuntime` opens none, so it has no row."""


def runtime_row(name: str) -> Row:
    """The row of that name.

    Raises:
        UsageError: there is none; the message lists those that there are.
    """
    if name in RUNTIMES:
        return RUNTIMES[name]
    known = ", ".join(RUNTIMES)
    raise UsageError(f"there is no runtime {name!r}", expected=known, fix="Name one of those")


def open_file(name: str, path: Path, options: RuntimeOptions | None = None) -> Runtime:
    """Open one model file with the named backend.

    Args:
        name: a key of `RUNTIMES`.
        path: the file that the backend reads.
        options: device, precision, threads; CPU with the backend's own choices when not given.

    Raises:
        UsageError: no such backend.
        MissingExtraError: its vendor package is not installed.
        DeviceError: the device or precision obtained is not the one asked for.
        BackendError: the backend refused the file.
    """
    module = importlib.import_module(runtime_row(name).module)
    opener = cast("Callable[[Path, RuntimeOptions], Runtime]", module.open_model)
    return opener(Path(path), options or RuntimeOptions())


def probe(name: str) -> Probe:
    """What this machine has of the named backend; never raises for an absent vendor."""
    module = importlib.import_module(runtime_row(name).module)
    return cast("Probe", module.probe())
