"""What the inert pickle reader makes of the parts of a pickle that are not plain data.

Plain data (None, bool, int, float, str, bytes, list, dict with plain keys, tuple) stays what it
is. Records compare by identity and have no deep `repr`: a hostile file may nest them at will.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Call", "GlobalRef", "PersistentId", "Pickle", "describe", "pairs_of"]


@dataclass(frozen=True, slots=True)
class GlobalRef:
    """The name of something importable. It was not imported."""

    module: str
    name: str

    @property
    def path(self) -> str:
        """`module.name`."""
        return f"{self.module}.{self.name}"


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """A request to call or to instantiate something. Nobody did.

    Attributes:
        kind: `reduce` for a call of a function or class, `new` for `cls.__new__(cls, *args)`.
        target: what would have been called.
        args: positional arguments.
        state: what `__setstate__` or `__dict__` would have been given; None if nothing.
        items: what would have been appended to the result or added to it.
        pairs: (key, value) which would have been set on the result.
    """

    kind: Literal["reduce", "new"]
    target: GlobalRef
    args: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(slots=True, eq=False, repr=False)
class PersistentId:
    """A reference to something outside the pickle; in a checkpoint, to a tensor storage."""

    value: Any


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Pickle:
    """A pickle that was read.

    Attributes:
        root: the object that was pickled.
        calls: every `Call` of the file, in file order, reachable from `root` or not.
        globals: every name of the file, sorted.
    """

    root: Any
    calls: tuple[Call, ...]
    globals: tuple[str, ...]


def describe(value: Any) -> str:
    """A few words for an error message; never looks inside a container."""
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
    """(key, value) of a dict or of an `OrderedDict` record, or None if it is neither."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, Call) and value.target.path in _ORDERED and not _has_content(value.args):
        return value.pairs
    return None


_ORDERED = ("collections.OrderedDict", "collections.Counter")


def _has_content(args: tuple[Any, ...]) -> bool:
    # `OrderedDict()` is written as a call with no argument or, by old Pythons, with an empty list.
    return any(not (isinstance(arg, (list, dict)) and not arg) for arg in args)
