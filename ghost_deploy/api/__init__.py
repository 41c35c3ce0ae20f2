"""The Python interface: `inspect`, `export`, `calibrate`, `build`, `parity`, `load`.

Each imports what it needs when it is called, so that a device with one runtime needs no torch.
"""

from __future__ import annotations

from ghost_deploy.api.build import build
from ghost_deploy.api.calibrate import calibrate
from ghost_deploy.api.export import export
from ghost_deploy.api.inspect import inspect
from ghost_deploy.api.int8_artifacts import Calibration
from ghost_deploy.api.load import load
from ghost_deploy.api.parity import parity

__all__ = ["Calibration", "build", "calibrate", "export", "inspect", "load", "parity"]
