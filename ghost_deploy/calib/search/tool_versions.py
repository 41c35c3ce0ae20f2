"""Versions of the packages that make int8 files."""

from __future__ import annotations

import importlib.metadata
from importlib.util import find_spec

from ghost_deploy._version import __version__

_PACKAGES = ("onnx", "onnxruntime", "openvino", "nncf", "ncnn", "pnnx")


def versions() -> dict[str, str]:
    """Versions of this package and of the installed packages that make int8 files, by name."""
    found = {
        name: importlib.metadata.version(name) for name in _PACKAGES if find_spec(name) is not None
    }
    return {"ghost-deploy": __version__, **found}
