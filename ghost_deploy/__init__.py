"""Edge deployment for Ghost-YOLO detectors.

    import ghost_deploy as gd

    bundle = gd.export("best.pt", "out", images="photos")
    detector = gd.load(bundle)
    detections = detector("photo.jpg")

Names are imported on first use: `import ghost_deploy` loads no vendor package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ghost_deploy._version import __version__

if TYPE_CHECKING:
    from ghost_deploy.api import export, inspect, load, parity
    from ghost_deploy.bundle import Bundle
    from ghost_deploy.detections import Detections
    from ghost_deploy.detector import Detector
    from ghost_deploy.errors import GhostDeployError
    from ghost_deploy.frame import Frame
    from ghost_deploy.runtimes import Runtime
    from ghost_deploy.spec import HeadSpec, InputSpec, ModelSpec, Thresholds

_HOME = {
    "Bundle": "bundle",
    "Detections": "detections",
    "Detector": "detector",
    "Frame": "frame",
    "GhostDeployError": "errors",
    "HeadSpec": "spec",
    "InputSpec": "spec",
    "ModelSpec": "spec",
    "Runtime": "runtimes",
    "Thresholds": "spec",
    "export": "api",
    "inspect": "api",
    "load": "api",
    "parity": "api",
}

__all__ = [
    "Bundle",
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
