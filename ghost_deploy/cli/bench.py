"""`ghost-deploy bench`: latency. Not there yet."""

from __future__ import annotations

import argparse

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import add_json, add_run_options, not_yet

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = "Measure the latency of bundles, host to host, side by side. Not there yet."
EXAMPLES = """\
examples:
  ghost-deploy bench out/best --runtime ort openvino
  ghost-deploy bench out/new --baseline out/old --images photos
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="folder that `export` wrote")
    parser.add_argument("--runtime", nargs="+", metavar="R", help="runtimes (default: all)")
    parser.add_argument("--precision", nargs="+", metavar="P", help="precisions (default: all)")
    parser.add_argument("--images", metavar="DIR", help="images to run on")
    parser.add_argument("--baseline", metavar="BUNDLE", help="bundle that others are compared to")
    add_json(parser)
    add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Answer that it is not there yet."""
    raise not_yet("bench", "Time your own call of ghost_deploy.load(BUNDLE) until it is there")
