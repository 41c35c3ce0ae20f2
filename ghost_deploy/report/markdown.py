"""The report as Markdown: the same words and figures, without charts and images."""

from __future__ import annotations

from collections.abc import Iterator

from ghost_deploy.report.blocks import Block, Drawing, FactList, Line, Notes, Pill, Table, Tree
from ghost_deploy.report.page import Page, make_page
from ghost_deploy.report.report_document import Report

# CommonMark 2.4: a backslash before ASCII punctuation takes its meaning away. `&` and `@` become
# entities: `&` could start an entity, `@` mention a user.
_ESCAPES = {ord(c): f"\\{c}" for c in "\\`*_[]<>|~#$"} | {ord("&"): "&amp;", ord("@"): "&#64;"}


def escaped(text: str) -> str:
    """`text` so that Markdown shows it as it is and makes no link, tag or table of it."""
    return text.translate(_ESCAPES).replace("://", "\\://")


def render_markdown(report: Report) -> str:
    """Render the page; what comes from the document is escaped."""
    return "\n".join(_lines(make_page(report))).rstrip() + "\n"


def _lines(page: Page) -> Iterator[str]:
    yield from (f"# {escaped(page.title.text)}", "", _words(page.subtitle), "")
    yield from (f"**{escaped(page.headline.text)}**", "")
    for tile in page.tiles:
        yield f"- **{_words(tile.figure)}** {_words(tile.meaning)}"
    for reason in page.reasons:
        yield f"- {_words(reason)}"
    for section in page.sections:
        yield from ("", f"## {_words(section.title)}", "")
        if section.lead:
            yield from (_words(section.lead), "")
        for block in section.blocks:
            yield from _block(block)
    yield from ("", _words(page.footer))


def _words(line: Line) -> str:
    """Fixed words as they are, words of the document escaped."""
    pieces = (piece.cell if isinstance(piece, Pill) else piece for piece in line)
    return "".join(piece if isinstance(piece, str) else escaped(piece.text) for piece in pieces)


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, FactList):
        for name, value in block.rows:
            yield f"- {name if isinstance(name, str) else escaped(name.text)}: {_words(value)}"
        yield ""
    elif isinstance(block, Tree):
        for depth, value in block.lines:
            yield f"{'  ' * depth}- {_words(value)}"
        yield ""
    elif isinstance(block, Notes):
        for value in block.lines:
            yield f"> - {_words(value)}"
        yield ""
    elif isinstance(block, Drawing):
        yield from (f"*{_words(block.title)}: in the HTML page.*", "")


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield from (_words(table.caption), "")
    yield f"| {' | '.join(_words(column.title) for column in table.columns)} |"
    yield f"|{'|'.join('---:' if column.right else '---' for column in table.columns)}|"
    for index, row in enumerate(table.rows):
        cells = [_words(cell) for cell in row]
        if index == table.marked:
            cells = [f"**{cell}**" if cell != "-" else cell for cell in cells]
        yield f"| {' | '.join(cells)} |"
    yield ""
