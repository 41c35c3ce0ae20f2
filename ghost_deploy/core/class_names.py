"""Classes by name or number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ghost_deploy.core.lookup import unknown_name

Classes: TypeAlias = str | int | Sequence[str | int]
"""Names or numbers of classes. A text that is no name as a whole is split at its commas."""

_MOST_SHOWN = 20


def class_ids(classes: Classes, class_names: Sequence[str]) -> list[int]:
    """The numbers of classes, in the order in which they are named.

    Args:
        classes: what a user names.
        class_names: of the model, by class id. Of a name that occurs twice all are meant.

    Raises:
        UsageError: the model has no such class.
    """
    words = [classes] if isinstance(classes, str | int) else classes
    found: list[int] = []
    for word in words:
        for name in _split(word, class_names) if isinstance(word, str) else (str(word),):
            found += _ids_of(name, class_names)
    return list(dict.fromkeys(found))


def _split(text: str, class_names: Sequence[str]) -> list[str]:
    """Single names: a text that is a name stays whole, whatever commas it has."""
    whole = text if text in class_names else text.strip()
    parts = [whole] if whole in class_names else [part.strip() for part in text.split(",")]
    return list(filter(None, parts))


def _ids_of(name: str, class_names: Sequence[str]) -> list[int]:
    named = [index for index, each in enumerate(class_names) if each == name]
    if named:
        return named
    if name.isascii() and name.isdecimal() and int(name) < len(class_names):
        return [int(name)]
    what = f"the model has no class {name!r}"
    raise unknown_name(what, name, class_names, most=_MOST_SHOWN)
