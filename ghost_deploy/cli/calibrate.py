"""`ghost-deploy calibrate`: int8 artifacts from a set of pictures."""

from __future__ import annotations

import argparse
import shlex

from ghost_deploy.cli.calibration_options import add_calibration_options, calibration_of
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import add_json, add_run_options
from ghost_deploy.core.errors import GateError

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = """\
Put int8 artifacts into a bundle, with ranges taken from your pictures: one in the form of each
runtime, because no single int8 file serves all. Several ways of making each are tried and judged,
by mAP on --data, else by agreement with the float model; the times of all artifacts that run here
are taken side by side, and the verdict says what to use. Int8 artifacts that the bundle has are
replaced, all of them: those of a bundle come from one calibration. When an artifact loses more
than it may, the bundle is still written, with that verdict inside, and the exit code is 1.
"""
EXAMPLES = """\
examples:
  ghost-deploy calibrate out/best --calib photos/train
  ghost-deploy calibrate out/best --calib data.yaml --data data.yaml --max-drop 0.3
  ghost-deploy calibrate out/best --calib street.mp4 --openvino
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that `export` wrote")
    what = parser.add_argument_group("what to make (default: the formats that the bundle has)")
    what.add_argument(
        "--onnx", action="store_true", help="for ONNX Runtime on this processor, and for TensorRT"
    )
    what.add_argument("--openvino", action="store_true", help="for OpenVINO")
    add_calibration_options(parser, required=True)
    add_json(parser)
    add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Calibrate, judge and print."""
    from ghost_deploy import api
    from ghost_deploy.cli.int8_table import print_int8
    from ghost_deploy.core.bundle import Bundle

    failed: GateError | None = None
    calibration = calibration_of(args)
    assert calibration is not None
    with console.steps() as progress:
        try:
            bundle = api.calibrate(
                args.bundle,
                calibration,
                formats=[name for name in ("onnx", "openvino") if getattr(args, name)],
                device=args.device,
                threads=args.threads,
                allow_fallback=args.allow_fallback,
                progress=progress,
            )
        except GateError as error:
            failed, bundle = error, Bundle.read(args.bundle)
    report = bundle.evidence.int8
    assert report is not None  # it was just calibrated
    if args.json:
        console.document(report.to_document())
    else:
        print_int8(report, console)
    if failed:
        raise failed
    if not args.json:
        console.result(
            f"next: ghost-deploy infer {shlex.quote(args.bundle)} SOURCE --precision int8"
        )
    return 0
