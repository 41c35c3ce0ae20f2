"""Evidence of other kinds that a bundle holds: names and values, listed as stored.

Kinds that this version does not know are shown too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ghost_deploy.core.evidence.boards import BoardsReport
from ghost_deploy.core.evidence.build import BuildRecords
from ghost_deploy.core.evidence.int8 import Int8Report
from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.evidence.statistics_report import StatisticsReport
from ghost_deploy.core.evidence.threshold_report import ThresholdReport
from ghost_deploy.report.blocks import (
    NOTHING,
    At,
    Block,
    Cell,
    FactList,
    Line,
    Section,
    Table,
    TableColumn,
)
from ghost_deploy.report.view import ReportView

_SHOWN: tuple[type[Document], ...] = (
    Int8Report, BuildRecords, StatisticsReport, ThresholdReport, BoardsReport,
)  # fmt: skip
_MOST_LEAVES, _MOST_ROWS, _DEEPEST = 200, 200, 6


def evidence(view: ReportView) -> Iterator[Section]:
    """A section for each kind in each bundle."""
    for index, bundle in enumerate(view.report.bundles):
        kinds = view.value("bundles", index, "document", "evidence")
        for number, (kind, document) in enumerate(kinds.items()):
            at: At = ("bundles", index, "document", "evidence", kind)
            if any(kind == each.KIND and bundle.read(each) for each in _SHOWN):
                continue  # it has a section of its own
            name = f"evidence-{index + 1}-{number + 1}"
            yield Section(name, ("Evidence: ", view.key(*at)), list(_blocks(view, at, document)))


def _blocks(view: ReportView, at: At, value: Any) -> Iterator[Block]:
    """Single values first, then a table for each list of objects."""
    leaves = list(_leaves(view, at, value))[:_MOST_LEAVES]
    if leaves:
        yield FactList(leaves)
    yield from _tables(view, at, value, 0)


def _leaves(
    view: ReportView, at: At, value: Any, depth: int = 0
) -> Iterator[tuple[str | Cell, Line]]:
    if not isinstance(value, dict) or depth > _DEEPEST:
        return
    for key, each in value.items():
        place = (*at, key)
        if isinstance(each, dict):
            yield from _leaves(view, place, each, depth + 1)
        elif isinstance(each, list):
            if each and not any(isinstance(item, dict | list) for item in each):
                yield view.key(*place), (view.cell("list", *place),)
        else:
            yield view.key(*place), (view.cell("any", *place),)


def _tables(view: ReportView, at: At, value: Any, depth: int) -> Iterator[Block]:
    if depth > _DEEPEST:
        return
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _tables(view, (*at, key), each, depth + 1)
    elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        yield _table(view, at, value)


def _table(view: ReportView, at: At, items: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(name for item in items for name in item))
    flat = [n for n in names if not any(isinstance(i.get(n), dict | list) for i in items)]
    rows = [
        [(view.cell("any", *at, i, n),) if n in item else NOTHING for n in flat]
        for i, item in enumerate(items[:_MOST_ROWS])
    ]
    first = {name: next(i for i, item in enumerate(items) if name in item) for name in flat}
    columns = [
        TableColumn(
            (view.key(*at, first[name], name),),
            right=isinstance(items[first[name]][name], int | float),
        )
        for name in flat
    ]
    folded = "All rows" if len(items) > 12 else ""
    return Table(columns, rows, (view.key(*at),), folded=folded)
