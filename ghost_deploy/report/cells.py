"""What a page is made of. Whatever comes from the document knows its place there.

A page is sections of blocks, blocks hold lines, and a line is words of ours and cells. A cell
cannot disagree with the document: it is made by looking its place up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ghost_deploy.report.blocks import Tone
from ghost_deploy.report.number_format import visible, write

__all__ = [
    "KEY",
    "Block",
    "Cell",
    "Column",
    "Drawing",
    "Facts",
    "Line",
    "Look",
    "Notes",
    "Page",
    "Pill",
    "Section",
    "Table",
    "Tile",
    "Tree",
    "plain",
    "pointer",
]

KEY = "key"
"""Form of a cell that shows the last step of its place, not what stands there."""


@dataclass(frozen=True)
class Cell:
    """A value of the document, as it is written.

    Attributes:
        text: what is read.
        at: its place, a JSON pointer (RFC 6901).
        form: how `text` was made, a name in `forms.FORMS`.
        hint: more about it, also from the document.
    """

    text: str
    at: str
    form: str
    hint: str = ""


@dataclass(frozen=True)
class Pill:
    """A word of the document that is good or bad news."""

    cell: Cell
    tone: Tone | str


Line: TypeAlias = "tuple[str | Cell | Pill, ...]"


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand on the right."""

    title: Line
    right: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of lines; `marked` is the row that is recommended; `folded` hides it at first."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Line]]
    caption: Line = ()
    marked: int | None = None
    folded: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and lines."""

    rows: Sequence[tuple[str | Cell, Line]]


@dataclass(frozen=True)
class Tree:
    """Lines with their depth from 0: what is deeper was made from what is above it."""

    lines: Sequence[tuple[int, Line]]


@dataclass(frozen=True)
class Notes:
    """Lines that are read one by one."""

    lines: Sequence[Line]
    tone: Tone | str = ""


@dataclass(frozen=True)
class Drawing:
    """A chart or a picture for pages that can show one.

    Attributes:
        title: what it shows.
        markup: HTML with inline SVG, made by `charts`, safe as it is.
        note: how to read it.
        legend: markup of swatches and their meaning.
    """

    title: Line
    markup: str
    note: Line = ()
    legend: str = ""


Block: TypeAlias = "Table | Facts | Tree | Notes | Drawing"


@dataclass(frozen=True)
class Section:
    """A part of a page; `anchor` names it in links."""

    anchor: str
    title: Line
    blocks: Sequence[Block]
    lead: Line = ()


@dataclass(frozen=True)
class Tile:
    """A figure worth a large type, and what it means."""

    figure: Line
    meaning: Line


@dataclass(frozen=True)
class Page:
    """Everything that is shown."""

    title: Cell
    subtitle: Line
    tone: Tone
    headline: Cell
    reasons: Sequence[Line]
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    footer: Line = field(default=())


def plain(line: Line) -> str:
    """What a line reads, as text alone."""
    pieces = (piece.cell if isinstance(piece, Pill) else piece for piece in line)
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces)


def pointer(*steps: str | int) -> str:
    """The JSON pointer of a path of keys and indices."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)


class Look:
    """The document as plain values, to be looked up by path."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    def value(self, *steps: str | int) -> Any:
        """What is there."""
        found: Any = self._document
        for step in steps:
            found = found[step]
        return found

    def cell(self, form: str, *steps: str | int, hint: str = "") -> Cell:
        """What is there, written in that form."""
        return Cell(write(self.value(*steps), form), pointer(*steps), form, hint)

    def key(self, *steps: str | int) -> Cell:
        """The name under which something stands."""
        return Cell(visible(str(steps[-1])), pointer(*steps), KEY)

    def pill(self, *steps: str | int) -> Pill:
        """A status; its tone follows from the word."""
        cell = self.cell("text", *steps)
        tones = {"passed": "good", "passes": "good", "measured": "good", "failed": "bad"}
        return Pill(cell, {**tones, "fails": "bad", "unproved": "warn"}.get(cell.text, ""))
