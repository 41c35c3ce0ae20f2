"""The blocks that pages and terminal tables consist of.

A section has blocks, blocks have lines, and a line is fixed words and cells. A cell holds a value
of the document and its place there: it is made by looking that place up, so that it cannot
disagree with the document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from ghost_deploy.report.number_format import ABSENT, visible, write

KEY = "key"
"""Form of a cell that shows the last key of its place instead of the value there."""


@dataclass(frozen=True)
class Cell:
    """A value of the document, as it is written.

    Attributes:
        text: what is read.
        at: its place, a JSON pointer (RFC 6901).
        form: how `text` was made, a name in `number_format.FORMS`.
    """

    text: str
    at: str
    form: str


@dataclass(frozen=True)
class Pill:
    """A status of the document: `tone` is `good`, `warn`, `bad` or empty."""

    cell: Cell
    tone: str


At: TypeAlias = "tuple[str | int, ...]"
"""A place in the document: keys and indices."""

Line: TypeAlias = "tuple[str | Cell | Pill, ...]"
NOTHING: Line = (ABSENT,)

Medium: TypeAlias = Literal["page", "terminal"]


@dataclass(frozen=True)
class TableColumn:
    """A column of a table; numbers are aligned right. `only` one medium shows it, if set."""

    title: Line
    right: bool = False
    only: Medium | None = None


@dataclass(frozen=True)
class Table:
    """Rows of lines.

    Attributes:
        columns, rows: a row has a line for each column.
        caption: what the table shows.
        marked: index of the recommended row.
        folded: on a page the table is closed at first, under this title.
        only: the medium that shows it; None for all.
    """

    columns: Sequence[TableColumn]
    rows: Sequence[Sequence[Line]]
    caption: Line = ()
    marked: int | None = None
    folded: str = ""
    only: Medium | None = None


@dataclass(frozen=True)
class FactList:
    """Names and values."""

    rows: Sequence[tuple[str | Cell, Line]]
    only: Medium | None = None


@dataclass(frozen=True)
class Tree:
    """Lines with their depth from 0: a deeper line was built from the one above it."""

    lines: Sequence[tuple[int, Line]]
    only: Medium | None = None


@dataclass(frozen=True)
class Notes:
    """Single lines: notes, warnings (`warn`) or failures (`bad`)."""

    lines: Sequence[Line]
    tone: str = ""
    only: Medium | None = None


@dataclass(frozen=True)
class Drawing:
    """A chart or an image, for HTML pages.

    Attributes:
        title: what it shows.
        draw: makes HTML with inline SVG, escaped, by `charts`.
        note: how to read it.
        legend: markup of swatches and their meaning.
    """

    title: Line
    draw: Callable[[], str]
    note: Line = ()
    legend: str = ""
    only: Medium | None = "page"


Block: TypeAlias = "Table | FactList | Tree | Notes | Drawing"


@dataclass(frozen=True)
class Section:
    """A part of a page; `anchor` names it in links."""

    anchor: str
    title: Line
    blocks: Sequence[Block]
    lead: Line = ()


def shown_on(medium: Medium, section: Section) -> Section:
    """The section with the blocks and columns that a medium shows."""
    blocks = [block for block in section.blocks if block.only in (None, medium)]
    narrowed = [_columns(medium, b) if isinstance(b, Table) else b for b in blocks]
    return replace(section, blocks=narrowed)


def _columns(medium: Medium, table: Table) -> Table:
    kept = [i for i, column in enumerate(table.columns) if column.only in (None, medium)]
    rows = [[row[i] for i in kept] for row in table.rows]
    return replace(table, columns=[table.columns[i] for i in kept], rows=rows)


def plain(line: Line) -> str:
    """The text of a line."""
    pieces = (piece.cell if isinstance(piece, Pill) else piece for piece in line)
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces)


def pointer(*steps: str | int) -> str:
    """The JSON pointer (RFC 6901) of a path of keys and indices."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


_CELL = re.compile(r"\{([^:{}]+):([^{}]+)\}")
_TONES = {"passed": "good", "passes": "good", "measured": "good", "verified": "good",
          "failed": "bad", "fails": "bad", "unproved": "warn", "unjudged": "warn"}  # fmt: skip


class DocumentView:
    """A document as plain values, looked up by path."""

    def __init__(self, document: Any) -> None:
        self._document = document

    def value(self, *steps: str | int) -> Any:
        """The value at a place."""
        found: Any = self._document
        for step in steps:
            found = found[step]
        return found

    def find(self, *steps: str | int) -> Any:
        """The value at a place; None where the document has no such key."""
        found: Any = self._document
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else found and found[step]
        return found

    def cell(self, form: str, *steps: str | int) -> Cell:
        """The value at a place, written in that form."""
        return Cell(write(self.value(*steps), form), pointer(*steps), form)

    def line(self, template: str, *at: str | int) -> Line:
        """Fixed words with cells: `{keys:form}`, keys from `at` on joined by `/`.

        For example `line("{images/count:count} images", "latency", 0)`.
        """
        pieces = _CELL.split(template)
        line: Line = (pieces[0],) if pieces[0] else ()
        for path, form, words in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
            steps = [int(step) if step.isdigit() else step for step in path.split("/")]
            line = (*line, self.cell(form, *at, *steps), *([words] if words else []))
        return line

    def key(self, *steps: str | int) -> Cell:
        """The last key of a place."""
        return Cell(visible(str(steps[-1])), pointer(*steps), KEY)

    def pill(self, *steps: str | int) -> Pill:
        """A status; its tone follows from the word."""
        cell = self.cell("text", *steps)
        return Pill(cell, _TONES.get(cell.text, ""))

    def listed(self, *steps: str | int) -> list[Line]:
        """Each text of a list as a line."""
        return [(self.cell("text", *steps, i),) for i in range(len(self.find(*steps) or ()))]
