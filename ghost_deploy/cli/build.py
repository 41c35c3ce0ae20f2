"""`ghost-deploy build`: a TensorRT engine, made on the device. Not there yet."""

from __future__ import annotations

import argparse

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import not_yet

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = "Make an engine of a bundle's ONNX on the device that will run it. Not there yet."
EXAMPLES = """\
examples:
  ghost-deploy build out/best --trt --fp16
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that `export` wrote")
    parser.add_argument("--trt", action="store_true", help="build a TensorRT engine (not yet)")
    for precision in ("fp32", "fp16", "int8"):
        parser.add_argument(
            f"--{precision}", action="store_true", help=f"engine precision {precision} (not yet)"
        )


def run(args: argparse.Namespace, console: Console) -> int:
    """Answer that it is not there yet."""
    raise not_yet("build", "Run the bundle's ONNX: ghost-deploy infer BUNDLE SOURCE --runtime ort")
