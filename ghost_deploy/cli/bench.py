"""`ghost-deploy bench`: latency and throughput, side by side."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.server_options import add_server_options, server_arguments

DESCRIPTION = """\
Measure latency and throughput, host to host: the model alone, and each stage from image file to
detections. All candidates (artifact x runtime x precision x batch x threads x streams) take turns
in one run, each in a process of its own, so that a machine that drifts favors none; they are
compared round by round. A bundle may also be a single .onnx, .xml or checkpoint file; a model
that is not ours is timed alone, on random numbers. What failed a verdict that its bundle keeps is
timed and marked `(failed)`. The figures are stored in each bundle, where `report` finds them, in
the place of those that it has. On a Jetson, tegrastats gives power, temperature and GPU load.
"""
EXAMPLES = """\
examples:
  ghost-deploy bench out/best --runtime ort openvino --images images
  ghost-deploy bench out/ghost --baseline out/plain --precision fp16
  ghost-deploy bench out/best --threads 1 2 4 --streams 1 2 --json > latency.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_bundle(parser, "models", nargs="+")
    options.add_selection(parser)
    batches = "images a request (default: 1)"
    options.add_value(parser, "--batch", "N", batches, options.positive, nargs="+", dest="batches")
    streams = "concurrent requests, each to a copy of the model (default: 1)"
    options.add_value(parser, "--streams", "N", streams, options.positive, nargs="+", default=[1])
    options.add_images(parser, "to run on: folder, file or glob (default: demo scenes)")
    options.add_value(
        parser, "--baseline", "BUNDLE", "bundle or model that the others are compared with"
    )
    duration = "seconds to measure each candidate (default: 10)"
    options.add_value(
        parser, "--duration", "S", duration, options.above_zero, default=10.0, dest="duration_s"
    )
    rounds = "turns each has in that time (default: 20)"
    options.add_value(parser, "--rounds", "N", rounds, options.positive, default=20)
    parser.add_argument(
        "--no-store",
        dest="store",
        action="store_false",
        help="do not store the figures in the bundles",
    )
    options.add_image_limits(parser, broken=False)
    options.add_json(parser)
    options.add_on(parser)
    options.add_run_options(parser, several_threads=True)
    add_server_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure and print."""
    from ghost_deploy import api
    from ghost_deploy.api.bench import store_latency

    with console.steps() as progress:
        report = api.bench(**server_arguments(args, "store"), store=False, progress=progress)
    if args.json:
        console.document(report.to_document())
    else:
        from ghost_deploy.cli.tables import print_latency

        print_latency(report, console)
    for line in _failed(args):
        console.note(f"failed: {line}")
    if args.store:  # after printing: a note on a folder is no part of the figures
        models = [*args.models, *([args.baseline] if args.baseline else [])]
        store_latency(models, report, console.note)
    return 0 if report.complete else 2


def _failed(args: argparse.Namespace) -> Iterator[str]:
    """What failed of the bundles that were timed, with the command that replaces it."""
    from ghost_deploy.api.common import is_bundle
    from ghost_deploy.core.bundle import Bundle
    from ghost_deploy.export.integrations.failed_artifacts import failure_lines

    for model in args.models:
        if is_bundle(Path(model)):
            yield from failure_lines(Bundle.read(model))
