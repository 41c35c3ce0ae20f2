"""A parity report for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.parity import ParityReport, ParityRow

__all__ = ["print_parity"]

_COLUMNS = (
    Column("artifact"),
    Column("runtime"),
    Column("precision"),
    Column("parity"),
    Column("matched", right=True),
    Column("score diff", right=True),
    Column("box diff", right=True),
)


def print_parity(report: ParityReport, console: Console) -> None:
    """The rows, then what failed and why, then what the verdict rests on."""
    console.table(_COLUMNS, [_cells(row) for row in report.rows])
    console.result("")
    for row in report.rows:
        _print_reasons(row, console)
    for warning in report.warnings:
        console.result(f"warning: {warning}")
    console.result(f"{report.summary()}. {report.evidence.sentence}.")


def _cells(row: ParityRow) -> list[str]:
    """Largest differences: of detections, or of raw outputs where nothing was detected."""
    cells = [row.artifact, row.runtime, row.precision, row.status]
    found, raw = row.detections, row.tensor
    if found is None or raw is None:
        return [*cells, "-", "-", "-"]
    if not found.total:
        return [*cells, "none found", f"{raw.score.max:.2g}", f"{raw.box_px.max:.2g} px"]
    matched = f"{found.matched} of {found.total}"
    return [*cells, matched, f"{found.score.max:.2g}", f"{found.box_px.max:.2g} px"]


def _print_reasons(row: ParityRow, console: Console) -> None:
    name = f"{row.artifact} on {row.runtime} in {row.precision}"
    for reason in row.reasons:
        console.result(f"{name} {row.status}: {reason}")
    if row.coarse:
        console.result(f"{name} {row.status}: {row.coarse}")
    if row.attribution:
        console.result(f"  where it comes from: {row.attribution.stage}")
        console.result(f"  {row.attribution.sentence} ({row.attribution.image})")
