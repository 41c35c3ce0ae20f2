"""Tables of things that are alike: a row for each thing, a column for each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ghost_deploy.report.cells import Cell, Column, Line, Pill, Table
from ghost_deploy.report.view import View

__all__ = ["At", "Field", "table"]

At: TypeAlias = "tuple[str | int, ...]"
"""A place in the document."""

Field: TypeAlias = "tuple[str, str, str]"
"""Title, key and form of a column; the form `pill` is a text that is good or bad news."""

_WORDS = {"text", "runtime", "list", "pill", "any"}
_TONES = {"passed": "good", "failed": "bad", "unjudged": "warn"}


def table(
    view: View,
    at: At,
    things: Sequence[Mapping[str, Any]],
    fields: Sequence[Field],
    *,
    only: Sequence[int] | None = None,
    caption: Line = (),
    folded: str = "",
) -> Table:
    """The table. A field that none of the things has is left out.

    Args:
        view: of the report.
        at: where the list stands in the document.
        things: what stands there.
        fields: the columns.
        only: indices of the things that are shown; all when None.
        caption, folded: as `Table` takes them.
    """
    had = [each for each in fields if any(thing.get(each[1]) is not None for thing in things)]
    body: list[list[Line]] = []
    for i in range(len(things)) if only is None else only:
        body.append([_line(view, (*at, i), things[i], key, form) for _, key, form in had])
    columns = [Column((title,), right=form not in _WORDS) for title, _, form in had]
    return Table(columns, body, caption, folded=folded)


def _line(view: View, at: At, thing: Mapping[str, Any], key: str, form: str) -> Line:
    if thing.get(key) is None:
        return ("-",)
    cell = view.look.cell("text" if form == "pill" else form, *at, key)
    return (_pill(cell) if form == "pill" else cell,)


def _pill(cell: Cell) -> Pill:
    return Pill(cell, _TONES.get(cell.text, ""))
