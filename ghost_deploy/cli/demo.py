"""`ghost-deploy demo`: all steps on the built-in detector."""

from __future__ import annotations

import argparse
import shlex
import time
from typing import TYPE_CHECKING

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.core.gate_error import GateError

if TYPE_CHECKING:
    from ghost_deploy.api import DemoResult

DESCRIPTION = """\
Run all steps on a small detector that comes with the package: draw labelled scenes, export to ONNX
and OpenVINO in fp32, fp16 and int8 (one quick calibration on other scenes; export makes NCNN,
LiteRT, RKNN and TensorRT, too), compare each artifact with PyTorch, measure accuracy and latency,
draw what is found, and write one report with a verdict. It takes less than two minutes on two
cores. Nothing is downloaded. What this machine lacks is left out and listed.
"""
EXAMPLES = """\
examples:
  ghost-deploy demo
  ghost-deploy demo -o /tmp/demo
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "-o", "--out", metavar="DIR", default="out/demo", help="results (default: out/demo)"
    )
    options.add_switches(parser, {"--overwrite": "replace the results of an earlier demo"})
    options.add_json(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it, with progress, then print the results."""
    from ghost_deploy import api
    from ghost_deploy.demo.embedded import MODEL_FILE

    start = time.perf_counter()
    console.note(f"the built-in detector: {_facts(api.inspect(MODEL_FILE))}")
    with console.steps() as progress:
        done = api.demo(args.out, overwrite=args.overwrite, progress=progress)
    if args.json:
        console.document(done.report)
        for what, error in done.left_out.items():
            console.note(f"left out: {what}: {error}")
    else:
        _print(done, console)
    console.note(f"{'all of it':<24}{time.perf_counter() - start:6.1f} s")
    return GateError.exit_code if done.report.verdict.tone == "bad" else 0


def _facts(model: object) -> str:
    from ghost_deploy.checkpoints.inspection_record import Inspection

    assert isinstance(model, Inspection)
    classes = ", ".join(model.class_names)
    return f"{model.family}, {model.parameters:,} weights, classes {classes}"


def _print(done: DemoResult, console: Console) -> None:
    from ghost_deploy.cli.tables import print_sections, print_verdict
    from ghost_deploy.report.sections.overview import overview
    from ghost_deploy.report.view import ReportView

    print_sections(overview(ReportView(done.report)), console)
    print_verdict(done.report, console)
    for what, error in done.left_out.items():
        console.result(f"left out: {what}: {error}")
    console.result("")
    console.facts([*reversed(done.files.items()), ("everything", done.folder.resolve())])
    page = shlex.quote(str(done.files["report"]))
    console.result(f"next: open {page}, then do the same with a detector of your own:")
    console.result("      ghost-deploy export best.pt -o out/best --images images")
