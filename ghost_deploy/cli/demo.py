"""`ghost-deploy demo`: the built-in example. Not there yet."""

from __future__ import annotations

import argparse

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import not_yet

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = "Run the whole road on a small built-in detector. Not there yet."
EXAMPLES = """\
examples:
  ghost-deploy demo -o out/demo
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("-o", "--out", metavar="DIR", help="where the results go")


def run(args: argparse.Namespace, console: Console) -> int:
    """Answer that it is not there yet."""
    raise not_yet(
        "demo",
        "Use your own model, in a checkout of the source: make demo MODEL=best.pt IMAGES=photos",
    )
