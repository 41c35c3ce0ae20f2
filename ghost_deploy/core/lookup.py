"""Looks up names given by the user in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ghost_deploy.core.errors import UsageError

T = TypeVar("T")


def entry_of(table: Mapping[str, T], name: str, what: str, *, fix: str = "Name one of those") -> T:
    """The entry of `table` under `name`.

    Args:
        table: by name.
        name: as the user gave it.
        what: kind of the entries, for the message.
        fix: the next step for the user.

    Raises:
        UsageError: there is no such entry; the message lists all names.
    """
    if name not in table:
        raise UsageError(f"there is no {what} {name!r}", expected=", ".join(table), fix=fix)
    return table[name]
