"""The Python interface: one module and one function for each command, `load` and `stream`.

Each imports what it needs when it is called, so that a device with one runtime needs no torch.
"""

from __future__ import annotations

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
    "sign",
    "stream",
    "validate",
]
