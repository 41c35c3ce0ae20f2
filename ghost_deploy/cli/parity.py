"""`ghost-deploy parity`: compare a bundle with its checkpoint."""

from __future__ import annotations

import argparse

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.server_options import add_server_options, server_arguments
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.core.gate_error import GateError

DESCRIPTION = """\
Compare every artifact of a bundle with the PyTorch module on identical tensors: raw outputs and
detections, on every runtime that is installed. The tolerance belongs to the precision. When one
is missed, stages are swapped one at a time to find where the difference comes from, and the exit
code is 1; it is 3 when nothing could be run on this machine. The bundle is not changed. Where
nothing has changed since its export (checkpoint, artifacts, images, packages, processor), the
verdict that the bundle keeps is printed; --again compares again.
"""
EXAMPLES = """\
examples:
  ghost-deploy parity best.pt out/best --images images
  ghost-deploy parity best.pt out/best --images images --json > parity.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="what was exported")
    options.add_bundle(parser)
    options.add_images(
        parser, "to compare on: folder, file or glob (default: demo scenes, weak evidence)"
    )
    options.add_most_images(parser)
    again = "compare although nothing has changed since the bundle was compared"
    options.add_switches(parser, {"--again": again})
    options.add_modules(parser)
    options.add_fork(parser)
    options.add_other_checkpoint(parser)
    options.add_image_limits(parser)
    options.add_json(parser)
    options.add_run_options(parser)
    add_server_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Compare and print."""
    from ghost_deploy import api
    from ghost_deploy.cli.tables import print_parity

    notes: list[str] = []
    with console.steps() as progress:
        report = api.parity(**server_arguments(args), progress=progress, note=notes.append)
    if args.json:
        console.document(report.to_document())
    else:
        print_parity(report, console)
    for note in notes:
        console.note(f"{note}; --again compares again")
    if report.passed:
        return 0
    judged = any(row.status in ("passed", "failed") for row in report.rows)
    return GateError.exit_code if judged else UnavailableError.exit_code
