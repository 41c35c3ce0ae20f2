"""Copies of torch modules, ten times as fast as `copy.deepcopy` makes them.

A module has a dozen dictionaries of hooks, nearly always empty. `deepcopy` takes each of them apart
as an object of its own: half of its time, and a tenth of that of an export.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)

_PLAIN = (bool, int, float, str, type(None))
_HOLDERS = (dict, OrderedDict, set)


def copy_module(module: M, memo: dict[int, Any] | None = None) -> M:
    """Return what `copy.deepcopy(module, memo)` does.

    Args:
        module: what refers to one object refers to one copy of it, but for empty dictionaries.
        memo: by the `id` of an object what takes its place, as `copy.deepcopy` has it; filled.
    """
    memo = {} if memo is None else memo
    known = memo.get(id(module))
    if known is not None:
        return known  # type: ignore[no-any-return]
    if hasattr(type(module), "__deepcopy__"):
        return copy.deepcopy(module, memo)
    made = type(module).__new__(type(module))
    memo[id(module)] = made
    made.__dict__.update(
        (name, _copied(name, value, memo)) for name, value in module.__dict__.items()
    )
    return made


def _copied(name: str, value: Any, memo: dict[int, Any]) -> Any:
    """The copy of an attribute of a module."""
    kind = type(value)
    if kind in _PLAIN or id(value) in memo:
        return memo.get(id(value), value)
    if kind in _HOLDERS and not value:
        return kind()
    if name == "_modules":
        return kind(
            (key, None if each is None else copy_module(each, memo)) for key, each in value.items()
        )
    if isinstance(value, nn.Module):
        return copy_module(value, memo)
    return copy.deepcopy(value, memo)
