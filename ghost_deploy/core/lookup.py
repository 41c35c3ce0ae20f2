"""Looks up names given by the user, and finds the one that was meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
        raise unknown_name(f"there is no {what} {name!r}", name, table, fix=fix)
    return table[name]


def unknown_name(
    what: str, name: str, known: Iterable[str], *, fix: str = "Name one of those", most: int = 40
) -> UsageError:
    """The error for a name that is not among the known ones.

    Args:
        what: happened, the name included.
        name: as the user gave it.
        known: all names, of which the message lists `most` and asks for the one that was meant.
        fix: the next step where none is near.
    """
    names = list(known)
    shown = ", ".join(names[:most]) + (", ..." if len(names) > most else "")
    near = near_name(name, names)
    return UsageError(what, expected=shown, fix=f"Did you mean {near}?" if near else fix)


def near_name(name: str, known: Iterable[str]) -> str:
    """The known name that `name` was probably meant to be; empty if none is near."""
    import difflib

    folded: dict[str, str] = {}
    for each in known:
        folded.setdefault(each.casefold(), each)
    wanted = name.casefold()
    if wanted in folded:
        return folded[wanted]
    # A beginning is meant more often than what merely has many letters in common.
    begun = [each for each in folded if len(wanted) > 2 and each.startswith(wanted)]
    near = begun[:1] if len(begun) == 1 else difflib.get_close_matches(wanted, folded, 1)
    return folded[near[0]] if near else ""
