"""What a strict fake is made of: objects with the names of one TensorRT version and no others."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES: dict[str, Any] = json.loads((Path(__file__).parent / "api_names.json").read_text())
"""Public names and enum values of the bindings, read off them by introspection."""

VERSIONS: tuple[str, ...] = tuple(NAMES["versions"])
"""The versions that can be faked, oldest first."""


@dataclass
class Tensor:
    """A network or engine tensor, as a test describes it."""

    name: str
    is_input: bool
    shape: tuple[int, ...]
    dtype: str = "FLOAT"


@dataclass
class Layer:
    """A network layer, as a test describes it: names of its tensors, types of its outputs."""

    name: str
    type: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    dtype: str = "FLOAT"


@dataclass
class ParserFault:
    """An error that the parser is to report."""

    desc: str
    node: int = 0
    name: str = ""
    operator: str = ""
    code: str = "UNSUPPORTED_NODE"


@dataclass
class Control:
    """The test's side of a fake module, `fake.__fake__`: what it does, and what was called.

    `calls` holds (`Class.method` or `Class.property=`, arguments) in order.
    """

    version: str
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    parser_errors: list[ParserFault] = field(default_factory=list)
    build_log: list[tuple[str, str]] = field(default_factory=list)
    build_fails: bool = False
    interrupt: bool = False
    cuda_fails: bool = False
    dla_cores: int = 0
    no_dla: set[str] = field(default_factory=set)
    foreign_timing_cache: bool = False
    inspector_json: str = '{"Layers": [], "Bindings": []}'
    device_memory: int = 1 << 20
    execute_ok: bool = True
    on_execute: Any = None
    output_shape: Any = None

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of that name."""
        return [arguments for called, arguments in self.calls if called == name]

    def note(self, name: str, *arguments: Any) -> None:
        """Record a call."""
        self.calls.append((name, arguments))


class Enum:
    """A member of a fake enum: like a pybind11 one it is no int, but `int()` takes it."""

    def __init__(self, kind: str, name: str, value: int) -> None:
        self._kind, self.name, self.value = kind, name, value

    def __int__(self) -> int:
        return self.value

    def __index__(self) -> int:
        return self.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Enum) and (self._kind, self.value) == (other._kind, other.value)

    def __hash__(self) -> int:
        return hash((self._kind, self.value))

    def __repr__(self) -> str:
        return f"<{self._kind}.{self.name}: {self.value}>"


def enums_of(version: str) -> dict[str, type]:
    """The enum classes of a version."""
    made = {}
    for kind, forms in NAMES["enums"].items():
        for versions, members in forms.items():
            if version in versions.split():
                made[kind] = type(kind, (), {n: Enum(kind, n, v) for n, v in members.items()})
                made[kind].__members__ = {  # type: ignore[attr-defined]
                    name: getattr(made[kind], name) for name in members
                }
    return made


@functools.cache
def members_of(version: str, kind: str) -> frozenset[str]:
    """The public members of a class in a version; empty where it has no such class."""
    groups = NAMES["classes"][kind]
    return frozenset(
        n for versions, names in groups.items() if version in versions.split() for n in names
    )


class Strict:
    """Base of the fake classes: public names are those of the version, nothing else.

    A name that the version has and the fake does not model raises NotImplementedError when it is
    called, so that a test never passes by accident.
    """

    _control: Control
    _module: Any
    _members: frozenset[str] = frozenset()
    _kind = ""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            object.__getattribute__(self, "_require")(name)
        return object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            self._require(name)
            self._note(f"{name}=", value)
        object.__setattr__(self, name, value)

    def _require(self, name: str) -> None:
        # A class that our code derives, such as a logger, may have names of its own.
        derived = "_members" not in vars(type(self))
        if not derived and name not in self._members:
            raise AttributeError(f"{self._kind} of {self._control.version} has no {name!r}")

    def _note(self, what: str, *arguments: Any) -> None:
        self._control.note(f"{self._kind}.{what}", *arguments)


def _unmodelled(name: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"the fake does not model {name}")

    return refuse


def specialize(
    base: type, kind: str, control: Control, module: Any, members: frozenset[str]
) -> type:
    """`base` with the members of one version and no others, as the class `kind`."""
    slots = {name: _Slot(f"{kind}.{name}") for name in members if not hasattr(base, name)}
    hidden = {
        name: _Absent(f"{kind} of {control.version} has no {name!r}")
        for klass in base.__mro__
        for name in vars(klass)
        if not name.startswith("_") and name not in members and issubclass(klass, Strict)
    }
    facts = {"_kind": kind, "_control": control, "_module": module, "_members": members}
    return type(kind, (base,), {**slots, **hidden, **facts})


class _Slot:
    """A member that is there and has no behaviour; one that is set keeps its value."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return self if instance is None else _unmodelled(self._name)


class _Absent:
    """A class attribute that is not there: `hasattr` of the class says no."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(self._text)
