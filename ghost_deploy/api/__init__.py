"""The Python interface: one module and one function for each command, `load` and `stream`.

A module is imported when its function is first used, and each imports what it needs when it is
called, so that a device with one runtime needs no torch and a command loads no other.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ghost_deploy.api.batch import run_batch
    from ghost_deploy.api.bench import bench
    from ghost_deploy.api.build import build
    from ghost_deploy.api.calibrate import calibrate
    from ghost_deploy.api.check import check
    from ghost_deploy.api.compare import compare
    from ghost_deploy.api.demo import DemoResult, DemoSize, demo
    from ghost_deploy.api.doctor import DoctorReport, doctor
    from ghost_deploy.api.export import export
    from ghost_deploy.api.infer import infer
    from ghost_deploy.api.inspect import inspect
    from ghost_deploy.api.int8_artifacts import Calibration
    from ghost_deploy.api.load import load
    from ghost_deploy.api.parity import parity
    from ghost_deploy.api.report import report
    from ghost_deploy.api.sign import sign
    from ghost_deploy.api.stream import stream
    from ghost_deploy.api.validate import validate

_HOME = {
    "Calibration": "int8_artifacts",
    "DemoResult": "demo",
    "DemoSize": "demo",
    "DoctorReport": "doctor",
    "bench": "bench",
    "build": "build",
    "calibrate": "calibrate",
    "check": "check",
    "compare": "compare",
    "demo": "demo",
    "doctor": "doctor",
    "export": "export",
    "infer": "infer",
    "inspect": "inspect",
    "load": "load",
    "parity": "parity",
    "report": "report",
    "run_batch": "batch",
    "sign": "sign",
    "stream": "stream",
    "validate": "validate",
}
"""The module of each public name."""

__all__ = [
    "Calibration",
    "DemoResult",
    "DemoSize",
    "DoctorReport",
    "bench",
    "build",
    "calibrate",
    "check",
    "compare",
    "demo",
    "doctor",
    "export",
    "infer",
    "inspect",
    "load",
    "parity",
    "report",
    "run_batch",
    "sign",
    "stream",
    "validate",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


class _Verbs(ModuleType):
    """Keeps the functions: importing the module of the same name would put it in their place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Verbs
