"""Evidence of other kinds that a bundle holds, shown by its form alone.

Whoever wrote it knows what it means; here names and values are listed as they stand, so that new
kinds of evidence are seen before this version knows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ghost_deploy.core.evidence.int8 import Int8Report
from ghost_deploy.report.cells import Block, Cell, Column, Facts, Line, Section, Table
from ghost_deploy.report.sections.int8 import int8_sections
from ghost_deploy.report.view import View

__all__ = ["evidence"]

_At = tuple[str | int, ...]
_MOST_LEAVES, _MOST_ROWS, _DEEPEST = 200, 200, 6


def evidence(view: View) -> Iterator[Section]:
    """A section for each kind in each bundle."""
    for index in range(len(view.report.bundles)):
        kinds = view.look.value("bundles", index, "document", "evidence")
        for number, (kind, document) in enumerate(kinds.items()):
            at: _At = ("bundles", index, "document", "evidence", kind)
            if kind == Int8Report.KIND and int8_sections(view, index) is not None:
                continue  # it has a section of its own
            name = f"evidence-{index + 1}-{number + 1}"
            yield Section(
                name, ("Evidence: ", view.look.key(*at)), list(_blocks(view, at, document))
            )


def _blocks(view: View, at: _At, value: Any) -> Iterator[Block]:
    """Single values first, then a table for each list of alike things."""
    leaves = list(_leaves(view, at, value))[:_MOST_LEAVES]
    if leaves:
        yield Facts(leaves)
    yield from _tables(view, at, value, 0)


def _leaves(view: View, at: _At, value: Any, depth: int = 0) -> Iterator[tuple[str | Cell, Line]]:
    if not isinstance(value, dict) or depth > _DEEPEST:
        return
    for key, each in value.items():
        place = (*at, key)
        if isinstance(each, dict):
            yield from _leaves(view, place, each, depth + 1)
        elif isinstance(each, list):
            if each and not any(isinstance(item, dict | list) for item in each):
                yield view.look.key(*place), (view.look.cell("list", *place),)
        else:
            yield view.look.key(*place), (view.look.cell("any", *place),)


def _tables(view: View, at: _At, value: Any, depth: int) -> Iterator[Block]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _tables(view, (*at, key), each, depth + 1)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        yield _table(view, at, value)


def _table(view: View, at: _At, items: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for item in items for name in item))
    flat = [n for n in names if not any(isinstance(i.get(n), dict | list) for i in items)]
    rows = [
        [(view.look.cell("any", *at, i, n),) if n in item else ("-",) for n in flat]
        for i, item in enumerate(items[:_MOST_ROWS])
    ]
    first = {name: next(i for i, item in enumerate(items) if name in item) for name in flat}
    columns = [
        Column(
            (view.look.key(*at, first[name], name),),
            right=isinstance(items[first[name]][name], int | float),
        )
        for name in flat
    ]
    folded = "All rows" if len(items) > 12 else ""
    return Table(columns, rows, (view.look.key(*at),), folded=folded)
