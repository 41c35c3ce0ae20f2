"""Inference backends behind one interface: see `base` for it and `table` for the backends."""

from __future__ import annotations

from ghost_deploy.runtimes.base import (
    Device,
    Probe,
    Runtime,
    RuntimeInfo,
    RuntimeOptions,
    TensorSpec,
)
from ghost_deploy.runtimes.table import RUNTIMES, RuntimeRow, open_file, probe, runtime_row

__all__ = [
    "RUNTIMES",
    "Device",
    "Probe",
    "Runtime",
    "RuntimeInfo",
    "RuntimeOptions",
    "RuntimeRow",
    "TensorSpec",
    "open_file",
    "probe",
    "runtime_row",
]
