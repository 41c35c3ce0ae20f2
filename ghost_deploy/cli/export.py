"""`ghost-deploy export`: make a bundle of a checkpoint, and prove it."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.cli.calibration_options import add_calibration_options, calibration_of
from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import mebibytes, size_of
from ghost_deploy.cli.options import image_size, positive
from ghost_deploy.core.errors import GateError, UsageError

if TYPE_CHECKING:
    from ghost_deploy.core.bundle import Bundle

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = """\
Make a bundle of a checkpoint: one artifact for each format and precision, each compared with the
PyTorch module before the bundle is done. Without a format: ONNX and OpenVINO; without a
precision: fp32 and fp16. The checkpoint's code is never run. When an artifact misses its gate,
the bundle is still written, with that verdict inside, and the exit code is 1.
"""
EXAMPLES = """\
examples:
  ghost-deploy export best.pt -o out/best --images photos
  ghost-deploy export best.pt -o out/best --onnx --fp32 --imgsz 480 640
  ghost-deploy export best.pt -o out/best --fp32 --int8 --calib photos/train --data data.yaml
  ghost-deploy export best.pt -o out/best --dynamic --overwrite
  ghost-deploy export out/best --triton models --deepstream deepstream
  ghost-deploy export fork.pt -o out/fork --modules fork_blocks.py
"""

_FORMATS = ("onnx", "openvino")
_PRECISIONS = ("fp32", "fp16", "int8")
_DEFAULT_PRECISIONS = ("fp32", "fp16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help=".pt or .safetensors file; or a bundle, with --triton or --deepstream alone",
    )
    parser.add_argument("-o", "--out", metavar="BUNDLE", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace a bundle that is there")
    what = parser.add_argument_group("what to make")
    what.add_argument("--onnx", action="store_true", help="ONNX, opset 17")
    what.add_argument("--openvino", action="store_true", help="OpenVINO IR")
    what.add_argument("--trt", action="store_true", help="TensorRT engines for this very machine")
    what.add_argument("--fp32", action="store_true", help="as it was trained")
    what.add_argument("--fp16", action="store_true", help="a graph of half precision")
    what.add_argument("--int8", action="store_true", help="quantized, with ranges from --calib")
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
    shape.add_argument("--nms", action="store_true", help="final detections out of the graph")
    shape.add_argument(
        "--embed-preprocess",
        action="store_true",
        help="the graph takes uint8 BGR pixels (B, H, W, 3) and normalizes them itself",
    )
    others = parser.add_argument_group("inputs and other outputs")
    others.add_argument(
        "--images",
        metavar="DIR",
        help="images to prove it on: folder, file or glob (default: demo scenes, weak evidence)",
    )
    others.add_argument(
        "--modules",
        metavar="FILE.py",
        action="append",
        default=[],
        help="Python file with classes that the checkpoint names; it is run, so trust it",
    )
    others.add_argument("--triton", metavar="DIR", help="also write a Triton model repository")
    others.add_argument("--deepstream", metavar="DIR", help="also write a folder for DeepStream")
    others.add_argument(
        "--trt-version",
        metavar="V",
        default="",
        help="TensorRT of the device, e.g. 10.3.0, for the calibration cache of --deepstream "
        "(default: one file for each that DeepStream comes with)",
    )
    add_calibration_options(parser, required=False)


def run(args: argparse.Namespace, console: Console) -> int:
    """Export, prove and print."""
    from ghost_deploy import api
    from ghost_deploy.api.common import is_bundle
    from ghost_deploy.core.bundle import Bundle

    if is_bundle(Path(args.checkpoint)) and (args.triton or args.deepstream) and not args.out:
        _hand_over(Bundle.read(args.checkpoint), args, console)
        return 0
    if not args.out:
        raise UsageError(
            "no folder for the bundle is named", fix="Add -o BUNDLE, the folder to make"
        )
    failed: GateError | None = None
    with console.steps() as progress:
        try:
            bundle = api.export(
                args.checkpoint,
                args.out,
                _formats(args),
                _precisions(args),
                image_size(args.imgsz),
                args.images,
                calibration_of(args),
                dynamic=args.dynamic,
                one2one=args.one2one,
                nms=args.nms,
                embed_preprocess=args.embed_preprocess,
                modules=args.modules,
                overwrite=args.overwrite,
                progress=progress,
            )
        except GateError as error:
            failed, bundle = error, Bundle.read(args.out)
    _print(bundle, console)
    if failed:
        raise failed
    _hand_over(bundle, args, console)
    images = shlex.quote(args.images) if args.images else "SOURCE"
    console.result(f"next: ghost-deploy infer {shlex.quote(args.out)} {images} -o annotated")
    return 0


def _hand_over(bundle: Bundle, args: argparse.Namespace, console: Console) -> None:
    """Write the folders of other servers that were asked for."""
    from ghost_deploy.export.integrations.deepstream import write_deepstream
    from ghost_deploy.export.integrations.triton import write_triton

    if args.triton:
        names = write_triton(bundle, args.triton)
        console.result(f"{args.triton}: Triton model repository with {', '.join(names)}")
    if args.deepstream:
        write_deepstream(bundle, args.deepstream, args.trt_version)
        console.result(f"{args.deepstream}: for DeepStream; its README.md says how to use it")


def _formats(args: argparse.Namespace) -> tuple[str, ...]:
    """Those of `_FORMATS` that were named, or all of them; with --trt those named, and engines."""
    if not args.trt:
        return _chosen(args, _FORMATS)
    return (*(name for name in _FORMATS if getattr(args, name)), "tensorrt")


def _precisions(args: argparse.Namespace) -> tuple[str, ...]:
    """Those that were named; without any, fp32 and fp16."""
    return tuple(name for name in _PRECISIONS if getattr(args, name)) or _DEFAULT_PRECISIONS


def _chosen(args: argparse.Namespace, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` whose flag was given; all of them if none was."""
    return tuple(name for name in names if getattr(args, name)) or names


def _print(bundle: Bundle, console: Console) -> None:
    from ghost_deploy.cli.parity_table import print_parity

    console.table(
        (Column("artifact"), Column("file"), Column("size", right=True)),
        [[a.id, a.path, mebibytes(size_of(bundle, a))] for a in bundle.artifacts],
    )
    console.result("")
    assert bundle.evidence.parity is not None  # an export is always proved
    print_parity(bundle.evidence.parity, console)
    if bundle.evidence.int8:
        from ghost_deploy.cli.int8_table import print_int8

        console.result("")
        print_int8(bundle.evidence.int8, console)
