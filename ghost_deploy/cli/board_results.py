"""What came back from boards: stored in the bundle, printed as one report or one table."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import msgspec

from ghost_deploy.cli.board_outcome import BoardOutcome, report_of
from ghost_deploy.cli.board_sources import here, put_results
from ghost_deploy.cli.board_table import board_rows
from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import plural
from ghost_deploy.cli.summary import Summary
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.printable import printable
from ghost_deploy.remote.answers import reading_answer
from ghost_deploy.remote.bring_back import store_report
from ghost_deploy.remote.bring_engines import store_engines
from ghost_deploy.remote.job import BoardJob

_OUTPUT_NAMES = {"out": "results", "save_uncertain": "uncertain frames", "jsonl": "lines"}
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
    if job is not None:
        several = len(outcomes) > 1
        outcomes = [_stored(args, each, job, console, several=several) for each in outcomes]
    if args.json:
        console.document(
            {"schema": SCHEMA, "boards": [_plain(args, outcome) for outcome in outcomes]}
        )
    elif args.clean:
        _print_removed(outcomes, console)
    elif len(outcomes) == 1:
        outcomes = [_printed(args, outcomes[0], console)]
    else:
        titles, rows = board_rows(args.command, outcomes)
        console.table([Column(title) for title in titles], rows)
    for outcome in outcomes:
        if outcome.failure and (len(outcomes) > 1 or outcome.error is not None):
            _say_failure(outcome, console, named=len(outcomes) > 1)
    return max(outcome.code for outcome in outcomes)


def _stored(
    args: argparse.Namespace,
    outcome: BoardOutcome,
    job: BoardJob,
    console: Console,
    *,
    several: bool,
) -> BoardOutcome:
    """Put what a board found into the bundles here, and its outputs in place.

    Returns:
        The outcome; with the error, if that failed, and without a result that cannot be read.
    """
    if outcome.result is None or outcome.facts is None or outcome.results is None:
        return outcome
    try:
        with reading_answer(outcome.name, f"a report of {args.command}"):
            board_rows(args.command, [outcome])
    except GhostDeployError as error:
        return replace(outcome, code=error.exit_code, error=error, result=None)
    try:
        with reading_answer(outcome.name, f"a result of {args.command}"):
            _store(args, outcome, job, console, several=several)
    except GhostDeployError as error:
        return replace(outcome, code=max(outcome.code, error.exit_code), error=error)
    return outcome


def _store(
    args: argparse.Namespace,
    outcome: BoardOutcome,
    job: BoardJob,
    console: Console,
    *,
    several: bool,
) -> None:
    assert outcome.result is not None
    assert outcome.facts is not None
    assert outcome.results is not None
    if args.command == "infer":
        places = outcome.result.places
        for option, place in put_results(
            args, outcome.results, outcome.name, places, console.out, several=several
        ):
            console.note(f"{_OUTPUT_NAMES[option]}: {place}")
    elif args.command == "build" and outcome.plain is not None:
        _store_engines(job.bundles[0], outcome.results, console)
    elif outcome.plain is not None and getattr(args, "store", True):
        for sentence in store_report(args.command, outcome.facts, outcome.plain, job.bundles):
            console.note(sentence)


def _store_engines(sent: Bundle, back: Path, console: Console) -> None:
    from ghost_deploy.api.sign import is_signed, say_what_became

    was_signed = is_signed(sent.path)
    built = store_engines(sent, back)
    if built is not None:
        console.note(f"the engines are stored in {sent.path}")
        say_what_became(built, was_signed, console.note)


def _plain(args: argparse.Namespace, outcome: BoardOutcome) -> dict[str, Any]:
    return {
        "on": str(outcome.address),
        "board": None if outcome.facts is None else msgspec.to_builtins(outcome.facts),
        "exit_code": outcome.code,
        "error": outcome.failure,
        **(
            {"removed": [{"name": name, "bytes": size} for name, size in outcome.removed]}
            if args.clean
            else {"report": _with_names_here(outcome)}
        ),
    }


def _with_names_here(outcome: BoardOutcome) -> dict[str, Any] | None:
    """The document of the board, with the files here in the place of their copies."""
    plain, places = outcome.plain, outcome.result.places if outcome.result else {}
    images = plain.get("images") if plain else None
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and isinstance(image.get("source"), str):
            image["source"] = here(image["source"], places)
    unreadable = plain.get("unreadable") if plain else None
    if plain and outcome.result and isinstance(unreadable, list):
        plain["unreadable"] = [outcome.result.here(str(each)) for each in unreadable]
    return plain


def _printed(args: argparse.Namespace, outcome: BoardOutcome, console: Console) -> BoardOutcome:
    """Print the result of the only board; the outcome, with an error if it cannot be read."""
    try:
        with reading_answer(outcome.name, f"a report of {args.command}"):
            lines = getattr(args, "jsonl", None) == "-"  # they are the result
            console.outcome(lambda to: _print_one(args, outcome, console, to), is_result=not lines)
    except GhostDeployError as error:
        return replace(outcome, code=max(outcome.code, error.exit_code), error=error, result=None)
    return outcome


def _print_one(
    args: argparse.Namespace, outcome: BoardOutcome, console: Console, to: IO[str]
) -> None:
    if outcome.plain is None:
        return
    if outcome.facts is not None:
        print(printable(f"board {outcome.name}: {outcome.facts.sentence}"), file=to)
    from ghost_deploy.cli import tables
    from ghost_deploy.core.evidence.accuracy import AccuracyReport
    from ghost_deploy.core.evidence.check import CheckReport
    from ghost_deploy.core.evidence.latency import BenchReport

    if args.command == "check":
        tables.print_check(report_of(outcome, CheckReport), console, outcome.name)
    elif args.command == "bench":
        tables.print_latency(report_of(outcome, BenchReport), console)
    elif args.command == "validate":
        tables.print_accuracy(report_of(outcome, AccuracyReport), console)
    elif args.command == "infer":
        _print_counts(outcome, console, to)
    else:
        titles, rows = board_rows(args.command, [outcome])
        console.table([Column(title) for title in titles], rows)


def _print_counts(outcome: BoardOutcome, console: Console, to: IO[str]) -> None:
    plain = _with_names_here(outcome)
    assert plain is not None
    if plain.get("images"):
        Summary.of(plain).print(console, to)
    else:
        what = plural(len(plain.get("sources", ())), "source")
        print(f"{what}, {plural(plain['detections'], 'detection')}", file=to)


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
