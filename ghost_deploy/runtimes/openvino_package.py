"""Imports the package openvino without its converter of models, which no runtime needs."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

_CONVERTER = "openvino.tools.ovc"


def import_openvino() -> Any:
    """The package; its converter takes as long to import as all the rest, and is left for later.

    `openvino.convert_model` imports it when it is called.
    """
    if "openvino" not in sys.modules:
        converter = ModuleType(_CONVERTER)
        converter.convert_model = _convert_model  # type: ignore[attr-defined]
        sys.modules[_CONVERTER] = converter
        try:
            import openvino
        finally:
            sys.modules.pop(_CONVERTER, None)  # another thread may have been as early
    import openvino

    return openvino


def _convert_model(*args: Any, **options: Any) -> Any:
    return importlib.import_module(_CONVERTER).convert_model(*args, **options)
