"""Inference backends behind one interface, one row each.

A backend is imported only when it is opened or probed, so that listing them costs nothing and
an edge box needs only the vendor package it uses.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ghost_deploy.errors import UsageError
from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)

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

    `module` has two functions, `open_model(path, options) -> Runtime`
    and `probe() -> Probe`; nothing of the vendor is imported at its top level except in those.

    Attributes:
        name: as the user types it.
        module: our module.
        formats: artefact formats that it opens.
        precisions: for each artefact precision, the precisions it can be run in, default first.
        extra: the pip extra that brings the vendor package.
    """

    name: str
    module: str
    formats: tuple[str, ...]
    precisions: dict[str, tuple[str, ...]]
    extra: str


_SAME: dict[str, tuple[str, ...]] = {"fp32": ("fp32",), "fp16": ("fp16",), "int8": ("int8",)}

RUNTIMES: dict[str, Row] = {
    row.name: row
    for row in (
        Row(
            name="openvino",
            module="ghost_deploy.runtimes.ov",
            formats=("openvino",),
            precisions={"fp32": ("fp32", "bf16"), "fp16": ("fp16",), "int8": ("int8",)},
            extra="openvino",
        ),
        Row(
            name="ort",
            module="ghost_deploy.runtimes.ort",
            formats=("onnx",),
            precisions=_SAME,
            extra="onnxruntime",
        ),
        Row(
            name="eager",
            module="ghost_deploy.runtimes.eager",
            formats=("checkpoint",),
            precisions={"fp32": ("fp32",)},
            extra="export",
        ),
        Row(
            name="fake",
            module="ghost_deploy.runtimes.fake",
            formats=("fake",),
            precisions=_SAME,
            extra="",
        ),
    )
}
"""All backends. Order is preference: `auto` takes the first that is installed and has a file."""


def runtime_row(name: str) -> Row:
    """The row of that name.

    Raises:
        UsageError: there is none; the message lists those that there are.
    """
    try:
        return RUNTIMES[name]
    except KeyError:
        raise UsageError(
            f"there is no runtime {name!r}", expected=", ".join(RUNTIMES), fix="Name one of those"
        ) from None


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
