"""`ghost-deploy calibrate`: INT8 from a set of images. Not there yet."""

from __future__ import annotations

import argparse

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import not_yet

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = "Add INT8 artefacts to a bundle, with ranges from your images. Not there yet."
EXAMPLES = """\
examples:
  ghost-deploy calibrate out/best --calib photos/train --data data.yaml --max-drop 1.0
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that `export` wrote")
    parser.add_argument(
        "--calib", metavar="DIR", required=True, help="images like those the camera will see"
    )
    parser.add_argument(
        "--max-drop",
        type=float,
        metavar="P",
        help="largest loss of mAP50-95 that is accepted, in points",
    )
    parser.add_argument("--data", metavar="D", help="labelled images: data.yaml or COCO JSON")


def run(args: argparse.Namespace, console: Console) -> int:
    """Answer that it is not there yet."""
    raise not_yet("calibrate", "Use fp16: ghost-deploy export CHECKPOINT -o BUNDLE --fp16")
