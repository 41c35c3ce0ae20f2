"""What a strict fake is made of: objects with the members of one TensorRT version and no others.

Kinds and signatures are those of the real bindings: a property is not called, only a settable one
is set, a method takes the arguments of one of its overloads, by position or by these names.
"""

from __future__ import annotations

import functools
import json
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES: dict[str, Any] = json.loads((Path(__file__).parent / "api_names.json").read_text())
"""Public members and enum values of the bindings, read off them by introspection.

A member is `get` (read-only property), `set` (settable property), `value`, or a method's parameter
lists such as `(name, shape)`: `=` follows a parameter with a default, ` | ` parts overloads.
"""

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
    plugins: set[tuple[str, str]] = field(default_factory=lambda: {("EfficientNMS_TRT", "1")})
    on_parse: Any = None
    on_execute: Any = None
    output_shape: Any = None
    built_with: tuple[dict[str, str], dict[tuple[str, int], str]] = field(default_factory=tuple)
    first_logger: Any = None
    swallowed: list[BaseException] = field(default_factory=list)
    alive: list[weakref.ref[Any]] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)

    def called(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of every call of that name."""
        return [arguments for called, arguments in self.calls if called == name]

    def note(self, name: str, *arguments: Any) -> None:
        """Record a call."""
        self.calls.append((name, arguments))

    def adopt(self, logger: Any) -> None:
        """Take a logger as TensorRT does: the first of the process serves all that come later."""
        if self.first_logger is None:
            self.first_logger = weakref.ref(logger)
        assert self.first_logger() is not None, "TensorRT's first logger was freed"
        if self.first_logger() is not logger:
            self.note("another logger")

    def callback(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call back into Python like a trampoline: what is raised there is swallowed."""
        try:
            return function(*arguments)
        except BaseException as error:
            self.swallowed.append(error)
            return None

    def living(self, kind: str) -> int:
        """How many objects of a class that were watched are still alive."""
        found = [ref() for ref in self.alive]
        return sum(each is not None and each._kind == kind for each in found)


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
def members_of(version: str, kind: str) -> Mapping[str, str]:
    """The members of a class in a version, and what each is; empty where it has no such class."""
    groups = NAMES["classes"][kind]
    return {
        name: fact
        for versions, members in groups.items()
        if version in versions.split()
        for name, fact in members.items()
    }


def accepts(fact: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> bool:
    """Whether a method of these parameter lists takes such a call."""
    return any(_fits(form, arguments, keywords) for form in fact.split(" | "))


def _fits(form: str, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> bool:
    names = [name.strip() for name in form.strip("()").split(",") if name.strip()]
    by_place = [name.rstrip("=") for name in names[: len(arguments)]]
    given = {*by_place, *keywords}
    needed = {name for name in names if not name.endswith("=")}
    known = {name.rstrip("=") for name in names}
    enough = len(arguments) <= len(names) and not set(by_place) & set(keywords)
    return enough and needed <= given <= known


class Strict:
    """Base of the fake classes: public members are those of the version, nothing else.

    A member that the version has and the fake does not model raises NotImplementedError when it is
    used, so that a test never passes by accident.
    """

    _control: Control
    _module: Any
    _members: Mapping[str, str] = {}
    _kind = ""

    def __init_subclass__(cls) -> None:
        if cls._members and "_members" not in vars(cls):  # our code derives an interface
            own = {name for name in vars(cls) if not name.startswith("_")}
            assert own <= cls._members.keys(), f"{cls._kind} has no {sorted(own - {*cls._members})}"

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        fact = self._require(name)
        value = object.__getattribute__(self, name)
        derived = "_members" not in vars(type(self))
        return value if derived or not fact.startswith("(") else self._method(name, fact, value)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            if self._require(name) != "set":
                raise AttributeError(f"can't set attribute {self._kind}.{name}")
            self._note(f"{name}=", value)
        object.__setattr__(self, name, value)

    def _require(self, name: str) -> str:
        if name not in self._members:
            raise AttributeError(f"{self._kind} of {self._control.version} has no {name!r}")
        return self._members[name]

    def _method(self, name: str, fact: str, value: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if not accepts(fact, arguments, keywords):
                raise TypeError(
                    f"{self._kind}.{name}(): incompatible function arguments; supported: {fact}, "
                    f"invoked with: {arguments}, {keywords}"
                )
            return value(*arguments, **keywords)

        return call

    def _note(self, what: str, *arguments: Any) -> None:
        self._control.note(f"{self._kind}.{what}", *arguments)

    def _watch(self) -> None:
        self._control.alive.append(weakref.ref(self))


def specialize(
    base: type, kind: str, control: Control, module: Any, members: Mapping[str, str]
) -> type:
    """`base` with the members of one version and no others, as the class `kind`."""
    slots = {
        name: _Slot(f"{kind}.{name}", fact)
        for name, fact in members.items()
        if not name.startswith("_") and not hasattr(base, name)
    }
    hidden = {
        name: _Absent(f"{kind} of {control.version} has no {name!r}")
        for klass in base.__mro__
        for name in vars(klass)
        if not name.startswith("_") and name not in members and issubclass(klass, Strict)
    }
    facts = {"_kind": kind, "_control": control, "_module": module, "_members": members}
    return type(kind, (base,), {**slots, **hidden, **facts})


class _Slot:
    """A member that is there and has no behaviour; a property that is set keeps its value."""

    def __init__(self, name: str, fact: str) -> None:
        self._name, self._fact = name, fact

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        return _unmodelled(self._name) if self._fact.startswith("(") else _Value(self._name)


def _unmodelled(name: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"the fake does not model {name}")

    return refuse


class _Value:
    """The value of a property that was not set: it can be looked for, not used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, *_: Any) -> Any:
        raise TypeError(f"{self._name} is a property and is not called")

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(f"the fake does not model {self._name}")

    __bool__ = __int__ = __iter__ = __len__ = lambda self: self.__getattr__("")


class _Absent:
    """A class attribute that is not there: `hasattr` of the class says no."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(self._text)
