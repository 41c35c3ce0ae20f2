"""Checks of attribute values from a file.

A check takes the raw value and returns the value to use; it raises `MisfitError` for a wrong type
or a value out of range. `Channels`, `Count` and `Flag` are annotations of block attributes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

Check: TypeAlias = Callable[[object], Any]

FUNCTION = "function"
"""The only key of an attribute that names a function: `{"function": "package.module.name"}`."""

MAX_CHANNELS = 65_536


class MisfitError(ValueError):
    """A definition does not match its parts; `build` converts it to a StructureError."""


def checked(name: str, check: Check, value: object) -> Any:
    """Return the value of the attribute `name` as `check` returns it.

    Raises:
        MisfitError: the check refuses it; the error names the attribute.
    """
    try:
        return check(value)
    except MisfitError as reason:
        raise MisfitError(f"attribute {name!r}: {reason}") from None


def integer(low: int, high: int) -> Check:
    """An int (not a bool) from `low` to `high`, both included."""

    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise MisfitError(f"{_short(value)} is not an integer from {low} to {high}")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A finite int or float from `low` to `high`, both included."""

    def check(value: object) -> float:
        is_number = type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
        if not is_number or not low <= value <= high:  # type: ignore[operator]
            raise MisfitError(f"{_short(value)} is not a number from {low:g} to {high:g}")
        return value  # type: ignore[return-value]

    return check


def one_of(*values: object) -> Check:
    """One of these values, with the same type."""

    def check(value: object) -> object:
        for known in values:
            if type(value) is type(known) and value == known:
                return value
        raise MisfitError(f"{_short(value)} is none of {list(values)}")

    return check


flag = one_of(True, False)
none = one_of(None)


def is_function(value: object) -> bool:
    """Whether an attribute names a function or class."""
    return isinstance(value, dict) and list(value) == [FUNCTION]


def function_named(*names: str) -> Check:
    """A function of one of these names, in any module. It is not imported."""

    def check(value: object) -> object:
        path = value.get(FUNCTION) if isinstance(value, dict) and is_function(value) else None
        if not isinstance(path, str) or path.rpartition(".")[2] not in names:
            raise MisfitError(f"{_short(value)} is not the function {' or '.join(names)}")
        return value

    return check


def pair(item: Check) -> Check:
    """A list of two items (height, width), returned as a tuple; or one item for both."""

    def check(value: object) -> object:
        if isinstance(value, list):
            if len(value) != 2:
                raise MisfitError(f"{_short(value)} does not have two items")
            return tuple(item(each) for each in value)
        return item(value)

    return check


def row(size: int | None, item: Check) -> Check:
    """A list of `size` items (None: 1 to 4), returned as a tuple; or one item for all."""

    def check(value: object) -> object:
        if isinstance(value, list):
            if len(value) != size and not (size is None and 1 <= len(value) <= 4):
                raise MisfitError(f"{_short(value)} does not have {size or '1 to 4'} items")
            return tuple(item(each) for each in value)
        return item(value)

    return check


def either(*checks: Check) -> Check:
    """The first of several checks that accepts the value."""

    def check(value: object) -> object:
        reasons = []
        for option in checks:
            try:
                return option(value)
            except MisfitError as reason:
                reasons.append(str(reason))
        raise MisfitError("; ".join(reasons))

    return check


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


Channels: TypeAlias = Annotated[int, integer(1, MAX_CHANNELS)]
Count: TypeAlias = Annotated[int, integer(0, 1024)]
Flag: TypeAlias = Annotated[bool, flag]
OptionalFlag: TypeAlias = Annotated[bool | None, either(none, flag)]

SHORTCUT_FLAGS = (
    "shortcut", "use_shortcut", "has_shortcut", "residual", "use_residual", "identity", "skip",
    "use_res_connect", "use_res", "use_add", "is_add", "res",
)  # fmt: skip
"""Names in forks of the attribute `add`, which says whether a block adds its input."""
