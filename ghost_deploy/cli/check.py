"""`ghost-deploy check`: does a bundle do on this machine what it did where it was made?"""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.core.gate_error import GateError

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.check import CheckReport

DESCRIPTION = """\
Verify the hashes of a bundle, run each artifact that can run on this machine on the images that
the bundle carries, in a process of its own, compare the outputs with the stored ones, and time
what was verified. The verdicts are kept on this machine; infer and load read them. Exit code 1 if
an artifact is wrong here, 3 if nothing could be run.
"""
EXAMPLES = """\
examples:
  ghost-deploy check out/best
  ghost-deploy check out/best --precision int8 --json > check.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_bundle(parser)
    options.add_selection(parser)
    limit = "seconds that one artifact may take (default: 120)"
    options.add_value(
        parser, "--timeout", "S", limit, options.above_zero, dest="timeout_s", default=120.0
    )
    options.add_switches(parser, {"--no-speed": "do not time what was verified"})
    options.add_json(parser)
    options.add_on(parser)
    options.add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Check and print."""
    from ghost_deploy import api
    from ghost_deploy.cli.tables import print_check

    with console.steps() as progress:
        report = api.check(
            **options.arguments(args, "no_speed"), speed=not args.no_speed, progress=progress
        )
    if args.json:
        console.document(report.to_document())
    else:
        print_check(report, console)
        _say_next(report, args, console)
    if report.passed:
        return 0
    ran = any(row.status != "skipped" for row in report.rows)
    return GateError.exit_code if ran else UnavailableError.exit_code


def _say_next(report: CheckReport, args: argparse.Namespace, console: Console) -> None:
    """How to run what was found; times count where everything was timed."""
    whole = not (args.runtimes or args.precisions or args.no_speed)
    if report.passed and whole and any(row.p50_ms is not None for row in report.rows):
        device = "" if args.device == "cpu" else f" --device {args.device}"
        place = shlex.quote(args.bundle)
        console.result(f"next: ghost-deploy infer {place} SOURCE --precision fastest{device}")
