"""Edge deployment for Ghost-YOLO detectors.

    import ghost_deploy as gd

    bundle = gd.export("best.pt", "out", images="photos")
    detector = gd.load(bundle)
    detections = detector("photo.jpg")

Names are imported on first use: `import ghost_deploy` loads no vendor package.

OpenVINO's Python package reports every import of itself to an analytics service, from a forked
process and over the network. In a process that imports ghost_deploy first, it does not.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ghost_deploy._version import __version__

if TYPE_CHECKING:
    from ghost_deploy.api import Calibration, build, calibrate, export, inspect, load, parity
    from ghost_deploy.core.bundle import Bundle
    from ghost_deploy.core.detections import Detections
    from ghost_deploy.core.errors import GhostDeployError
    from ghost_deploy.core.frame import Frame
    from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec, Thresholds
    from ghost_deploy.detector import Detector
    from ghost_deploy.runtimes import Runtime

# `openvino` has its own stub for a missing `openvino_telemetry`; None makes it missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

_HOME = {
    "Calibration": "api",
    "Bundle": "core.bundle",
    "Detections": "core.detections",
    "Detector": "detector",
    "Frame": "core.frame",
    "GhostDeployError": "core.errors",
    "HeadSpec": "core.spec",
    "InputSpec": "core.spec",
    "ModelSpec": "core.spec",
    "Runtime": "runtimes",
    "Thresholds": "core.spec",
    "build": "api",
    "calibrate": "api",
    "export": "api",
    "inspect": "api",
    "load": "api",
    "parity": "api",
}

__all__ = [
    "Bundle",
    "Calibration",
    "Detections",
    "Detector",
    "Frame",
    "GhostDeployError",
    "HeadSpec",
    "InputSpec",
    "ModelSpec",
    "Runtime",
    "Thresholds",
    "__version__",
    "build",
    "calibrate",
    "export",
    "inspect",
    "load",
    "parity",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


class _Package(ModuleType):
    """Keeps `ghost_deploy.export` the function.

    Importing the sub-package of the same name would put the sub-package in its place; it stays
    reachable as `from ghost_deploy.export import ...`.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
