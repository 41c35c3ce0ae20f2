"""What came back from boards: stored in the bundle, printed as one report or one table."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from ghost_deploy.cli.board_outcome import BoardOutcome, report_of
from ghost_deploy.cli.board_table import board_rows
from ghost_deploy.cli.console import Column, Console
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.remote.bring_back import store_report
from ghost_deploy.remote.job import BoardJob

SCHEMA = 1
"""Version of the form of what `--on ... --json` prints."""


def finish(
    args: argparse.Namespace,
    outcomes: Sequence[BoardOutcome],
    console: Console,
    job: BoardJob | None = None,
) -> int:
    """Store and print what came back; the largest exit code.

    Args:
        args: of the command.
        outcomes: by board.
        console: to print on.
        job: what ran; None for `--clean`.
    """
    codes = [outcome.code for outcome in outcomes]
    if job is not None:
        for outcome in outcomes:
            codes.append(_store(args, outcome, job, console))
    if args.json:
        console.document(
            {"schema": SCHEMA, "boards": [_plain(args, outcome) for outcome in outcomes]}
        )
    elif args.clean:
        _print_removed(outcomes, console)
    elif len(outcomes) == 1:
        _print_one(args, outcomes[0], console)
    else:
        titles, rows = board_rows(args.command, outcomes)
        console.table([Column(title) for title in titles], rows)
    for outcome in outcomes:
        if outcome.failure and (len(outcomes) > 1 or outcome.error is not None):
            _say_failure(outcome, console, named=len(outcomes) > 1)
    return max(codes)


def _store(args: argparse.Namespace, outcome: BoardOutcome, job: BoardJob, console: Console) -> int:
    """Put the report of a board into the bundles here; an exit code."""
    if outcome.facts is None or outcome.plain is None:
        return 0
    if args.command == "bench" and not args.store:
        return 0
    try:
        for sentence in store_report(args.command, outcome.facts, outcome.plain, job.bundles):
            console.note(sentence)
    except GhostDeployError as error:
        console.error(error)
        return error.exit_code
    return 0


def _plain(args: argparse.Namespace, outcome: BoardOutcome) -> dict[str, Any]:
    return {
        "on": str(outcome.address),
        "board": None if outcome.facts is None else msgspec.to_builtins(outcome.facts),
        "exit_code": outcome.code,
        "error": outcome.failure,
        **(
            {"removed": [{"name": name, "bytes": size} for name, size in outcome.removed]}
            if args.clean
            else {"report": outcome.plain}
        ),
    }


def _print_one(args: argparse.Namespace, outcome: BoardOutcome, console: Console) -> None:
    if outcome.plain is None:
        return
    if outcome.facts is not None:
        console.result(f"board {outcome.name}: {outcome.facts.sentence}")
    from ghost_deploy.cli import tables
    from ghost_deploy.core.evidence.check import CheckReport
    from ghost_deploy.core.evidence.latency import BenchReport

    if args.command == "check":
        tables.print_check(report_of(outcome, CheckReport), console)
    elif args.command == "bench":
        tables.print_latency(report_of(outcome, BenchReport), console)


def _say_failure(outcome: BoardOutcome, console: Console, *, named: bool) -> None:
    error = outcome.error
    if error is None:
        console.note(f"error: {outcome.name}: {outcome.failure}")
        return
    what = (
        f"{outcome.name}: {error.what}" if named and outcome.name not in error.what else error.what
    )
    console.error(GhostDeployError(what, got=error.got, expected=error.expected, fix=error.fix))


def _print_removed(outcomes: Sequence[BoardOutcome], console: Console) -> None:
    for outcome in outcomes:
        if outcome.error is not None:
            continue
        size = sum(each for _, each in outcome.removed) >> 20
        names = ", ".join(name for name, _ in outcome.removed if name != "lock")
        console.result(
            f"{shlex.quote(str(outcome.address))}: "
            + (f"removed {names} ({size} MiB)" if names else "nothing was there")
        )
