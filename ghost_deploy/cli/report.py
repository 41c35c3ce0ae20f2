"""`ghost-deploy report`: results as a page. Not there yet."""

from __future__ import annotations

import argparse

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import not_yet

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = "Render the JSON results of other commands as one HTML page. Not there yet."
EXAMPLES = """\
examples:
  ghost-deploy report results.json -o report.html
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("results", metavar="RESULTS.json", help="what a command's --json printed")
    parser.add_argument("-o", "--out", metavar="FILE", required=True, help="page to write")


def run(args: argparse.Namespace, console: Console) -> int:
    """Answer that it is not there yet."""
    raise not_yet("report", "Read the evidence of a bundle: ghost-deploy inspect BUNDLE --json")
