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


def _bench_lines(plain: dict[str, Any]) -> list[Cells]:
    lines = []
    for row in plain["rows"]:
        figures = row.get("figures")
        times = figures["stages"] if figures else {}
        lines.append(
            [
                row["artifact"],
                f"{row['config']['runtime']} {row['config']['precision']}",
                _ms(times.get("run_alone", {}).get("p50")),
                _ms(times.get("run_alone", {}).get("p99")),
                _ms(times.get("end_to_end", {}).get("p50")),
                _rate(figures["throughput"] or figures["run_throughput"]) if figures else "",
                row.get("reason") or "",
            ]
        )
    return lines


def _validate_lines(plain: dict[str, Any]) -> list[Cells]:
    return [
        [
            row["artifact"],
            f"{row['runtime']} {row['precision']}",
            row["status"],
            f"{row['accuracy']['map50_95']:.4f}" if row.get("accuracy") else "",
            "" if row.get("delta") is None else f"{row['delta']:+.3f}",
            next(iter(row.get("reasons") or ()), ""),
        ]
        for row in plain["rows"]
    ]


def _infer_lines(plain: dict[str, Any]) -> list[Cells]:
    classes = ", ".join(f"{count} {name}" for name, count in plain["classes"].items())
    count = len(plain.get("images", plain.get("sources", ())))
    return [[str(count), str(plain["detections"]), classes]]


def _build_lines(plain: dict[str, Any]) -> list[Cells]:
    engines = [each for each in plain["artifacts"] if each["format"] == "tensorrt"]
    return [[f"tensorrt-{each['precision']}", "built"] for each in engines]


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[dict[str, Any]], list[Cells]]]] = {
    "check": (("artifact", "runtime", "verdict", "median", "reason"), _check_lines),
    "bench": (
        ("artifact", "run", "median", "p99", "end to end", "images/s", "reason"),
        _bench_lines,
    ),
    "validate": (("artifact", "run", "verdict", "mAP50-95", "lost", "reason"), _validate_lines),
    "infer": (("sources", "found", "classes"), _infer_lines),
    "build": (("engine", "state"), _build_lines),
}
