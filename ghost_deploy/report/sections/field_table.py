"""Tables of entries of one kind: a row for each entry, a column for each field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghost_deploy.report.blocks import (
    NOTHING,
    At,
    DocumentView,
    Line,
    Medium,
    Notes,
    Table,
    TableColumn,
)

_LEFT = {"text", "runtime", "list", "first", "counts", "pill", "any", "key", "hash"}


@dataclass(frozen=True)
class Field:
    """A column: its title, the keys to the value, joined by `/`, and the form.

    The form `pill` is a status; with no keys and the form `key`, the name of the entry itself.
    """

    title: str
    path: str
    form: str
    only: Medium | None = None

    @property
    def steps(self) -> list[str]:
        """The keys."""
        return self.path.split("/") if self.path else []


def field_table(
    view: DocumentView,
    places: Sequence[At],
    fields: Sequence[Field],
    *,
    names: Sequence[Line] = (),
    caption: str = "",
    folded: str = "",
    only: Medium | None = None,
) -> Table:
    """Build the table. A field that no entry has is left out.

    Args:
        view: the document.
        places: of the entries, a row each.
        fields: the columns.
        names: of the entries: a first column with the title `run`; none when empty.
        caption, folded, only: see `Table`.
    """
    shown = [
        field for field in fields if any(view.find(*at, *field.steps) is not None for at in places)
    ]
    columns = [TableColumn((f.title,), f.form not in _LEFT, f.only) for f in shown]
    body = [[_line(view, at, field) for field in shown] for at in places]
    if names:
        columns.insert(0, TableColumn(("run",)))
        body = [[name, *line] for name, line in zip(names, body, strict=True)]
    title: Line = (caption,) if caption else ()
    return Table(columns, body, title, folded=folded, only=only)


def _line(view: DocumentView, at: At, field: Field) -> Line:
    place = (*at, *field.steps)
    if field.form == "key":
        return (view.key(*place),)
    if view.find(*place) is None:
        return NOTHING
    piece = view.pill(*place) if field.form == "pill" else view.cell(field.form, *place)
    return (piece,)


def notes(lines: Sequence[Line], tone: str = "", *, only: Medium | None = None) -> list[Notes]:
    """A block of the lines, or none where there are none."""
    return [Notes(lines, tone, only)] if lines else []


def joined(pieces: Sequence[Line], by: str = ", ") -> Line:
    """Lines as one line."""
    line: Line = ()
    for piece in pieces:
        line = (*line, *((by,) if line else ()), *piece)
    return line


def statuses(view: DocumentView, places: Sequence[At], names: Sequence[Line]) -> list[Line]:
    """Why entries failed or were skipped: a line for each of their `reasons`."""
    return [
        (*name, " ", view.cell("text", *at, "status"), ": ", *reason)
        for at, name in zip(places, names, strict=True)
        for reason in view.listed(*at, "reasons")
    ]


def numbered(name: str, index: int) -> str:
    """The anchor of a section: of the first document the name alone."""
    return f"{name}-{index + 1}" if index else name
