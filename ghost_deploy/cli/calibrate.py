"""`ghost-deploy calibrate`: int8 artifacts from a set of images."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from ghost_deploy.cli.calibration_options import add_calibration_options, calibration_of
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import (
    add_bundle,
    add_image_limits,
    add_json,
    add_run_options,
    add_switches,
)
from ghost_deploy.core.gate_error import GateError

if TYPE_CHECKING:
    from ghost_deploy.core.bundle import Bundle

DESCRIPTION = """\
Put int8 artifacts into a bundle, with ranges taken from your images: one in the form of each
runtime, because no single int8 file serves all. Each is judged before it is kept, by mAP on --data,
else by agreement with the float model, and made in another way where it loses too much; --search
tries all ways and keeps the fastest that is accurate enough. The times of all artifacts that run
here are taken side by side, and the verdict says what to use. Those of a bundle come from one
calibration: --overwrite replaces all that it has. When an artifact loses more than it may, the
bundle is still written, with that verdict inside, and the exit code is 1.
"""
EXAMPLES = """\
examples:
  ghost-deploy calibrate out/best --calib images/train
  ghost-deploy calibrate out/best --calib data.yaml --data data.yaml --max-drop 0.3
  ghost-deploy calibrate out/best --calib street.mp4 --openvino
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_bundle(parser)
    what = parser.add_argument_group("what to make (default: the formats that the bundle has)")
    add_switches(
        what,
        {
            "--onnx": "for ONNX Runtime on this processor, and for TensorRT",
            "--openvino": "for OpenVINO",
            "--ncnn": "for NCNN, on all processors",
            "--overwrite": "replace the int8 artifacts that the bundle has, all of them",
        },
    )
    add_calibration_options(parser, required=True)
    add_image_limits(parser)
    add_json(parser)
    add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Calibrate, judge and print."""
    from ghost_deploy import api

    calibration = calibration_of(args)
    assert calibration is not None
    try:
        with console.steps() as progress:
            bundle = api.calibrate(
                args.bundle,
                calibration,
                formats=[name for name in ("onnx", "openvino", "ncnn") if getattr(args, name)],
                device=args.device,
                threads=args.threads,
                allow_fallback=args.allow_fallback,
                overwrite=args.overwrite,
                progress=progress,
            )
    except GateError as error:
        _print(error.bundle, args, console)
        raise
    _print(bundle, args, console)
    if not args.json:
        # `--precision int8` takes what `check` timed on the machine that runs it.
        place = shlex.quote(args.bundle)
        console.result(f"next: ghost-deploy check {place}")
        console.result(f"      ghost-deploy infer {place} SOURCE --precision fastest")
    return 0


def _print(bundle: Bundle | None, args: argparse.Namespace, console: Console) -> None:
    from ghost_deploy.cli.tables import print_int8

    report = bundle.evidence.int8 if bundle else None
    if report is None:
        return
    if args.json:
        console.document(report.to_document())
    else:
        print_int8(report, console)
