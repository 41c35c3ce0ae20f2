"""The records of the pickle reader for content that is not plain data.

Plain data (None, bool, int, float, str, bytes, list, dict with plain keys, tuple) is not converted.
Records compare by identity and have no deep `repr`: a hostile file may nest them arbitrarily.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class GlobalRef:
    """The name of an importable object, which is not imported."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """`module.name`."""
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A request to call or instantiate an object, which is not executed.

    Attributes:
        kind: `reduce` for a call of a function or class, `new` for `cls.__new__(cls, *args)`.
        target: the callable.
        args: positional arguments.
        state: argument of `__setstate__`, or the new `__dict__`; None without.
        items: to append or add to the result.
        pairs: (key, value) to set on the result.
    """

    kind: Literal["reduce", "new"]
    target: GlobalRef
    args: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class PersistentId:
    """A reference to an object outside the pickle; in a checkpoint, a tensor storage."""

    value: Any


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pickle:
    """The content of a pickle.

    Attributes:
        root: the pickled object.
        calls: all calls of the file, in file order, reachable from `root` or not.
        globals: all names of the file, sorted.
    """

    root: Any
    calls: tuple[Call, ...]
    globals: tuple[str, ...]


def describe(value: Any) -> str:
    """Describe a value for an error message, without the content of containers."""
    if isinstance(value, GlobalRef):
        return value.path
    if isinstance(value, Call):
        verb = "a call of" if value.kind == "reduce" else "an object of class"
        return f"{verb} {value.target.path}"
    if isinstance(value, PersistentId):
        return "a tensor storage"
    if isinstance(value, (bool, int, float)) or value is None:
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return f"a {type(value).__name__}"


def pairs_of(value: Any) -> list[tuple[Any, Any]] | None:
    """Return the (key, value) pairs of a dict or an `OrderedDict` record, else None."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, Call) and value.target.path in _ORDERED and not _has_content(value.args):
        return value.pairs
    return None


_ORDERED = ("collections.OrderedDict", "collections.Counter")


def _has_content(args: tuple[Any, ...]) -> bool:
    # `OrderedDict()` is written as a call without arguments or, in old Python, with an empty list.
    return any(not (isinstance(arg, (list, dict)) and not arg) for arg in args)
