"""Figures of rounds in markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.stream_runs import Run


def table(rounds: dict[str, list[Run]]) -> str:
    """Markdown: a row for each method, and the ratio of the first to each other by round."""

    def cell(values: Sequence[float | None], form: str) -> str:
        known = [value for value in values if value is not None]
        if not known:
            return ""
        middle, low, high = statistics.median(known), min(known), max(known)
        return f"{middle:{form}} ({low:{form}} to {high:{form}})"

    lines = ["| method | frames/s | age p50, ms | age p99, ms | model busy | pipeline / method |"]
    lines.append("|---|---|---|---|---|---|")
    first = next(iter(rounds.values()))
    for name, runs in rounds.items():
        ratios = [mine.fps / run.fps for mine, run in zip(first, runs, strict=True)]
        cells = [
            cell([run.fps for run in runs], ".1f"),
            cell([run.age(50) for run in runs], ".0f"),
            cell([run.age(99) for run in runs], ".0f"),
            cell([run.busy for run in runs], ".1%"),
            cell(ratios, ".3f") if runs is not first else "",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
