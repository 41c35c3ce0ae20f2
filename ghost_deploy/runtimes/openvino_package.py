"""Imports the package openvino without the parts that running a model does not need.

Its converter of models takes as long to import as all the rest, and its opsets, which build graphs
in Python, a fifth of what remains. Both are imported when something of them is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_CONVERTER = "openvino.tools.ovc"


class _Later(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by the import system itself
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def import_openvino() -> Any:
    """The package; its converter and its opsets are left for later."""
    if "openvino" not in sys.modules:
        later = {name: _Later(name) for name in (_CONVERTER, *_opsets())}
        later[_CONVERTER].__dict__["convert_model"] = _convert_model
        sys.modules.update(later)
        try:
            import openvino
        finally:
            for name, module in later.items():
                if sys.modules.get(name) is module:  # another thread may have been as early
                    del sys.modules[name]
    import openvino

    return openvino


def _opsets() -> list[str]:
    """Names of the opsets of the installed version."""
    spec = importlib.util.find_spec("openvino")
    folders = (spec and spec.submodule_search_locations) or ()
    return [f"openvino.{each.name}" for folder in folders for each in Path(folder).glob("opset*")]


def _convert_model(*args: Any, **options: Any) -> Any:
    return importlib.import_module(_CONVERTER).convert_model(*args, **options)
