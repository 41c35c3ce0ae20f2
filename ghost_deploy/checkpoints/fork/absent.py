"""Stand-ins for packages that a fork imports, that are not installed, and that it does not use.

A fork's files import far more than a network needs: plotting, tracking, data sets. A stand-in lets
itself be imported, decorated with, derived from and annotated with. Once the network is loaded,
using one is an error that names the package.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from torch import nn


class AbsentPackageError(Exception):
    """A stand-in was used at run time; `package` is what it stands for."""

    def __init__(self, name: str) -> None:
        self.package = name.partition(".")[0]
        super().__init__(f"{name} was used, and {self.package} is not installed")


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds stand-ins for the packages that were added; installed packages come first.

    Attributes:
        packages: top-level names.
        sealed: whether using a stand-in is an error now.
    """

    def __init__(self) -> None:
        self.packages: set[str] = set()
        self.sealed = False
        self._version = importlib.metadata.version

    def install(self) -> None:
        """Let imports find the stand-ins."""
        sys.meta_path.append(self)
        setattr(importlib.metadata, "version", self._version_of)  # noqa: B010

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A stand-in, if it is one of the packages; otherwise None."""
        if name.partition(".")[0] not in self.packages:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The stand-in of a module."""
        return _AbsentModule(spec.name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is executed."""

    def _version_of(self, distribution: str) -> str:
        if distribution.replace("-", "_") in self.packages:
            return "0.0.0"
        return self._version(distribution)


class _AbsentModule(ModuleType):
    def __init__(self, name: str, owner: StandIns) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__version__ = "0.0.0"
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if self._owner.sealed:
            raise AbsentPackageError(f"{self.__name__}.{name}")
        return _AbsentName(f"{self.__name__}.{name}", self._owner)


class _AbsentBase(nn.Module):
    """Base of classes that derive from a stand-in."""

    absent_name = ""

    def forward(self, *_: Any, **__: Any) -> Any:
        raise AbsentPackageError(self.absent_name)


class _AbsentName:
    """What a stand-in module has under any name."""

    def __init__(self, name: str, owner: StandIns) -> None:
        self._name, self._owner = name, owner

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self._use()
        return _AbsentName(f"{self._name}.{name}", self._owner)

    def __call__(self, *args: Any, **_: Any) -> Any:
        self._use()
        decorated = len(args) == 1 and isinstance(args[0], type | type(lambda: None))
        return args[0] if decorated else self

    def __mro_entries__(self, _: tuple[Any, ...]) -> tuple[type, ...]:
        return (type("Absent", (_AbsentBase,), {"absent_name": self._name}),)

    def __instancecheck__(self, _: object) -> bool:
        return False

    def __getitem__(self, _: object) -> Any:
        return self

    def __setitem__(self, _: object, __: object) -> None:
        """Settings of a package that is not there."""

    def __or__(self, _: object) -> Any:
        return self

    __ror__ = __or__

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def __iter__(self) -> Any:
        return iter(())

    def __bool__(self) -> bool:
        return False

    def _use(self) -> None:
        if self._owner.sealed:
            raise AbsentPackageError(self._name)
