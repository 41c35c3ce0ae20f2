"""The table over several boards: a line for each board and artifact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ghost_deploy.cli.board_outcome import BoardOutcome

Cells = list[str]


def board_rows(
    command: str, outcomes: Sequence[BoardOutcome]
) -> tuple[tuple[str, ...], list[Cells]]:
    """Titles and lines for what a command did on boards.

    Args:
        command: its name.
        outcomes: by board; one without a result is a line with its error.
    """
    titles, lines_of = _TABLES[command]
    rows: list[Cells] = []
    for outcome in outcomes:
        where = [outcome.name, _what(outcome)]
        lines = [] if outcome.plain is None else lines_of(outcome.plain)
        if not lines:
            text = outcome.failure or "nothing ran"
            lines = [["failed: " + _short(text), *[""] * (len(titles) - 1)]]
        rows += [[*where, *line] for line in lines]
    return ("board", "what it is", *titles), rows


def _what(outcome: BoardOutcome) -> str:
    facts = outcome.facts
    if facts is None:
        return ""
    return facts.model or facts.processor or facts.architecture


def _short(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"


def _check_lines(plain: dict[str, Any]) -> list[Cells]:
    rows = [row for row in plain["rows"] if row["status"] != "skipped"] or plain["rows"]
    return [
        [
            row["artifact"],
            row["runtime"],
            row["status"],
            _ms(row.get("p50_ms")),
            next(iter(row.get("reasons") or ()), ""),
        ]
        for row in rows
    ]


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], list[Cells]]]] = {
    "check": (("artifact", "runtime", "verdict", "median", "reason"), _check_lines),
}
