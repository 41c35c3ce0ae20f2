"""`ghost-deploy validate`: mAP on labelled images. Not there yet."""

from __future__ import annotations

import argparse

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import add_json, add_run_options, not_yet

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = "Measure the mAP of every artefact of a bundle on labelled images. Not there yet."
EXAMPLES = """\
examples:
  ghost-deploy validate out/best --data data.yaml --runtime ort openvino --precision fp16
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that `export` wrote")
    parser.add_argument(
        "--data", metavar="D", required=True, help="labelled images: data.yaml or COCO JSON"
    )
    parser.add_argument("--images", metavar="DIR", help="folder of the images of a COCO JSON")
    parser.add_argument("--runtime", nargs="+", metavar="R", help="runtimes (default: all)")
    parser.add_argument("--precision", nargs="+", metavar="P", help="precisions (default: all)")
    add_json(parser)
    add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Answer that it is not there yet."""
    raise not_yet(
        "validate",
        "Compare with the checkpoint: ghost-deploy parity CHECKPOINT BUNDLE --images DIR",
    )
