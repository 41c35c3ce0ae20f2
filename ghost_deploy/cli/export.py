"""`ghost-deploy export`: make a bundle of a checkpoint, and prove it."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import mebibytes, size_of
from ghost_deploy.cli.options import image_size, positive, refuse_not_yet
from ghost_deploy.errors import GateError

if TYPE_CHECKING:
    from ghost_deploy.bundle import Bundle

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = """\
Make a bundle of a checkpoint: one artefact for each format and precision, each compared with the
PyTorch module before the bundle is done. Without a format: ONNX and OpenVINO; without a
precision: fp32 and fp16. The checkpoint's code is never run. When an artefact misses its gate,
the bundle is still written, with that verdict inside, and the exit code is 1.
"""
EXAMPLES = """\
examples:
  ghost-deploy export best.pt -o out/best --images photos
  ghost-deploy export best.pt -o out/best --onnx --fp32 --imgsz 480 640
  ghost-deploy export best.pt -o out/best --dynamic --overwrite
  ghost-deploy export fork.pt -o out/fork --modules fork_blocks.py
"""

_FORMATS = ("onnx", "openvino")
_PRECISIONS = ("fp32", "fp16")
_NOT_YET = {
    "--trt": "Use --onnx: its graph is what an engine is built from",
    "--int8": "Use --fp16",
    "--calib": "Leave it out: it serves --int8",
    "--nms": "Leave it out: ghost-deploy does NMS on the host",
    "--embed-preprocess": "Leave it out: ghost-deploy does the preprocessing on the host",
    "--triton": "Leave it out, and place the ONNX file in your model repository",
    "--deepstream": "Leave it out, and use the ONNX file",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=".pt or .safetensors file")
    parser.add_argument("-o", "--out", metavar="BUNDLE", required=True, help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    what = parser.add_argument_group("what to make")
    what.add_argument("--onnx", action="store_true", help="ONNX, opset 17")
    what.add_argument("--openvino", action="store_true", help="OpenVINO IR")
    what.add_argument("--trt", action="store_true", help="TensorRT (not yet)")
    what.add_argument("--fp32", action="store_true", help="as it was trained")
    what.add_argument("--fp16", action="store_true", help="a graph of half precision")
    what.add_argument("--int8", action="store_true", help="a quantised graph (not yet)")
    shape = parser.add_argument_group("shape")
    shape.add_argument(
        "--imgsz",
        nargs="+",
        type=positive,
        metavar=("H", "W"),
        help="input side, or height and width, in pixels (default: what it was trained at)",
    )
    shape.add_argument(
        "--dynamic", action="store_true", help="accept batches of 1 to 16, half to twice the size"
    )
    shape.add_argument(
        "--one2one",
        action="store_true",
        help="of a head with two branches (YOLOv10) the one that needs no NMS",
    )
    shape.add_argument("--nms", action="store_true", help="NMS inside the graph (not yet)")
    shape.add_argument(
        "--embed-preprocess", action="store_true", help="preprocessing in the graph (not yet)"
    )
    others = parser.add_argument_group("inputs and other outputs")
    others.add_argument(
        "--images",
        metavar="DIR",
        help="images to prove it on: folder, file or glob (default: demo scenes, weak evidence)",
    )
    others.add_argument("--calib", metavar="DIR", help="images for INT8 ranges (not yet)")
    others.add_argument(
        "--modules",
        metavar="FILE.py",
        action="append",
        default=[],
        help="Python file with classes that the checkpoint names; it is run, so trust it",
    )
    others.add_argument("--triton", metavar="DIR", help="a Triton model repository (not yet)")
    others.add_argument("--deepstream", metavar="DIR", help="a DeepStream folder (not yet)")


def run(args: argparse.Namespace, console: Console) -> int:
    """Export, prove and print."""
    refuse_not_yet(args, _NOT_YET)
    from ghost_deploy import api
    from ghost_deploy.bundle import Bundle

    failed: GateError | None = None
    with console.steps() as progress:
        try:
            bundle = api.export(
                args.checkpoint,
                args.out,
                _chosen(args, _FORMATS),
                _chosen(args, _PRECISIONS),
                image_size(args.imgsz),
                args.images,
                dynamic=args.dynamic,
                one2one=args.one2one,
                modules=args.modules,
                overwrite=args.overwrite,
                progress=progress,
            )
        except GateError as error:
            failed, bundle = error, Bundle.read(args.out)
    _print(bundle, console)
    if failed:
        raise failed
    images = shlex.quote(args.images) if args.images else "SOURCE"
    console.result(f"next: ghost-deploy infer {shlex.quote(args.out)} {images} -o annotated")
    return 0


def _chosen(args: argparse.Namespace, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` whose flag was given; all of them if none was."""
    return tuple(name for name in names if getattr(args, name)) or names


def _print(bundle: Bundle, console: Console) -> None:
    from ghost_deploy.cli.parity_table import print_parity
    from ghost_deploy.validate.result import ParityReport

    console.table(
        (Column("artefact"), Column("file"), Column("size", right=True)),
        [[a.id, a.path, mebibytes(size_of(bundle, a))] for a in bundle.artifacts],
    )
    console.result("")
    document = bundle.document.evidence["parity"]
    print_parity(ParityReport.from_document(document, where=str(bundle.path)), console)
