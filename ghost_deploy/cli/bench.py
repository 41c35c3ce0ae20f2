"""`ghost-deploy bench`: latency and throughput, side by side."""

from __future__ import annotations

import argparse

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import (
    add_bundle,
    add_images,
    add_json,
    add_run_options,
    add_selection,
    positive,
    seconds,
)

DESCRIPTION = """\
Measure latency and throughput, host to host: the model alone, and each stage from image file to
detections. All candidates (artifact x runtime x precision x batch x threads x streams) take turns
in one run, each in a process of its own, so that a machine that drifts favours none; they are
compared round by round. A bundle may also be a single .onnx, .xml or checkpoint file; a model
that is not ours is timed alone, on random numbers. What failed a verdict that its bundle keeps is
timed and marked `(failed)`. On a Jetson, tegrastats gives power, temperature and GPU load.
"""
EXAMPLES = """\
examples:
  ghost-deploy bench out/best --runtime ort openvino --images images
  ghost-deploy bench out/ghost --baseline out/plain --precision fp16
  ghost-deploy bench out/best --threads 1 2 4 --streams 1 2 --json > latency.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_bundle(parser, "bundles", nargs="+")
    add_selection(parser)
    parser.add_argument(
        "--batch", nargs="+", type=positive, metavar="N", help="images a request (default: 1)"
    )
    parser.add_argument(
        "--streams",
        nargs="+",
        type=positive,
        default=[1],
        metavar="N",
        help="concurrent requests, each to a copy of the model (default: 1)",
    )
    add_images(parser, "to run on: folder, file or glob (default: demo scenes)")
    parser.add_argument(
        "--baseline", metavar="BUNDLE", help="bundle or model that the others are compared with"
    )
    parser.add_argument(
        "--duration",
        type=seconds,
        default=10.0,
        metavar="S",
        help="seconds to measure each candidate (default: 10)",
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=20,
        metavar="N",
        help="turns each has in that time (default: 20)",
    )
    parser.add_argument(
        "--save", action="store_true", help="store the figures in each bundle, as its latency"
    )
    add_json(parser)
    add_run_options(parser, several_threads=True)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure and print."""
    from ghost_deploy import api
    from ghost_deploy.api.bench import store_latency

    with console.steps() as progress:
        report = api.bench(
            args.bundles,
            args.images,
            baseline=args.baseline,
            runtimes=args.runtime,
            precisions=args.precision,
            batches=args.batch,
            threads=args.threads,
            streams=args.streams,
            device=args.device,
            allow_fallback=args.allow_fallback,
            duration_s=args.duration,
            rounds=args.rounds,
            progress=progress,
        )
    if args.json:
        console.document(report.to_document())
    else:
        from ghost_deploy.cli.tables import print_latency

        print_latency(report, console)
    if args.save:  # after printing: a folder that cannot be written to is an error
        models = [*args.bundles, *([args.baseline] if args.baseline else [])]
        store_latency(models, report, console.note)
    return 0 if report.complete else 2
