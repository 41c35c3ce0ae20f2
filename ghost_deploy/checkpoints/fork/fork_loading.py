"""The child's side of `--fork`: a checkpoint with the fork's classes.

Runs in the child process alone; it executes the fork's code and the checkpoint's pickle.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import io
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import nn

from ghost_deploy.checkpoints.fork.absent import StandIns
from ghost_deploy.checkpoints.fork.raw_output import ForkError

MOST_ABSENT = 64

T = TypeVar("T")


class ForkLoader:
    """Loads checkpoints with the classes of a fork.

    Args:
        folders: of the import path that are the fork's own.
        imports: files whose classes stand in for those that cannot be imported.

    Attributes:
        stand_ins: for packages that are not installed.
    """

    def __init__(self, folders: Sequence[str], imports: Sequence[str]) -> None:
        self._folders, self._imports = [Path(folder) for folder in folders], imports
        self._before = set(sys.modules)
        self._missing: dict[str, str] = {}
        self.stand_ins = StandIns()
        self.stand_ins.install()

    def load(self, data: bytes) -> nn.Module:
        """The network of a checkpoint, float32, in eval mode, without gradients.

        Raises:
            ForkError: there is no network in it, or a class of it is nowhere.
            Exception: whatever the fork's code raises.
        """
        document = self._with_stand_ins(lambda: self._unpickle(data))
        net = _network_of(document)
        lacking = sorted({type(m).__name__ for m in net.modules()} & set(self._missing))
        if lacking:
            paths = ", ".join(self._missing[name] for name in lacking)
            raise ForkError(
                f"the fork does not define what the checkpoint is made of: {paths}",
                "Give the folder of the version that trained it, or the file with these classes",
            )
        for module in net.modules():
            if isinstance(module, nn.Upsample) and not hasattr(module, "recompute_scale_factor"):
                module.recompute_scale_factor = None
        self.stand_ins.sealed = True
        return net.float().eval().requires_grad_(False)

    def files(self) -> tuple[str, ...]:
        """Python files of the fork that were imported so far."""
        found = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
        files = {Path(file).resolve() for file in found if isinstance(file, str)}
        return tuple(sorted(str(f) for f in files if any(map(f.is_relative_to, self._folders))))

    def _unpickle(self, data: bytes) -> Any:
        find_elsewhere, placeholder = self._find_elsewhere, self._placeholder

        class Unpickler(pickle.Unpickler):
            def find_class(self, module: str, name: str) -> Any:
                try:
                    return super().find_class(module, name)
                except (ImportError, AttributeError) as error:
                    missing = error.name if isinstance(error, ModuleNotFoundError) else module
                    if not _belongs(missing, module):
                        raise
                    return find_elsewhere(name) or placeholder(module, name)

        def load(file: Any, **settings: Any) -> Any:
            return Unpickler(file, **settings).load()

        kind = SimpleNamespace(Unpickler=Unpickler, load=load, __name__="pickle")
        return torch.load(
            io.BytesIO(data), map_location="cpu", weights_only=False, pickle_module=kind
        )

    def _with_stand_ins(self, step: Callable[[], T]) -> T:
        """Do a step again, with a stand-in for each package whose absence ends it."""
        while True:
            try:
                return step()
            except ImportError as error:
                name = (error.name or "").partition(".")[0].replace("-", "_")
                known = name in self.stand_ins.packages or name in sys.stdlib_module_names
                if not name or known or len(self.stand_ins.packages) >= MOST_ABSENT:
                    raise
                if _is_installed(name):
                    raise
                self.stand_ins.packages.add(name)
                self._forget()

    def _forget(self) -> None:
        """Let what the fork has imported be imported anew."""
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            ours = name.partition(".")[0] in ("torch", "ghost_deploy", "numpy")
            if name not in self._before and isinstance(file, str) and not ours:
                own = any(map(Path(file).resolve().is_relative_to, self._folders))
                if own or name.partition(".")[0] == "ultralytics":
                    del sys.modules[name]

    def _find_elsewhere(self, name: str) -> Any:
        """A class of that name in the files given, or else in a file of the fork's folder."""
        for file in (*self._imports, *self._files_that_define(name)):
            found = getattr(_import_file(Path(file)), name, None)
            if found is not None:
                return found
        return None

    def _files_that_define(self, name: str) -> Iterator[str]:
        for folder in self._folders:
            for file in sorted(folder.glob("*.py")):
                text = file.read_text(encoding="utf-8", errors="replace")
                if f"class {name}" in text and name in _classes_of(text):
                    yield str(file)

    def _placeholder(self, module: str, name: str) -> type:
        """For what the network does not need, such as a loss; found out afterwards."""
        self._missing[name] = f"{module}.{name}"
        return type(name, (nn.Module,), {})


def _belongs(missing: str | None, module: str) -> bool:
    """Whether a missing module is the one that was asked for, or a package around it."""
    return missing is not None and f"{module}.".startswith(f"{missing}.")


def _is_installed(name: str) -> bool:
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _classes_of(text: str) -> set[str]:
    try:
        return {node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    except SyntaxError:
        return set()


def _import_file(file: Path) -> Any:
    """Import a file: as a module of its package, if it is in one, so that `from .x` works."""
    package, parts = file.parent, [file.stem]
    while (package / "__init__.py").is_file():
        parts.insert(0, package.name)
        package = package.parent
    name = ".".join(parts)
    if name in sys.modules:
        return sys.modules[name]
    if str(package) not in sys.path:
        sys.path.insert(0, str(package))
    return importlib.import_module(name)


def _network_of(document: Any) -> nn.Module:
    if isinstance(document, nn.Module):
        return document
    if isinstance(document, Mapping):
        for key in ("ema", "model"):
            if isinstance(document.get(key), nn.Module):
                net: nn.Module = document[key]
                return net
    raise ForkError(
        "the checkpoint holds no network", "Give the best.pt or last.pt of the training"
    )
