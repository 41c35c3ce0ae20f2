"""`ghost-deploy bench`: latency and throughput, side by side."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Console, Progress, Steps
from ghost_deploy.cli.options import add_json, add_run_options, positive

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.latency import BenchReport

__all__ = ["DESCRIPTION", "EXAMPLES", "Rounds", "add_arguments", "run"]

DESCRIPTION = """\
Measure latency and throughput, host to host: the model alone, and each stage from image file to
detections. All candidates (artifact x runtime x precision x batch x threads x streams) take turns
in one run, each in a process of its own, so that a machine that drifts favours none; they are
compared round by round. A bundle may also be a single .onnx, .xml or checkpoint file; a model
that is not ours is timed alone, on random numbers. What failed a verdict that its bundle keeps is
timed and marked `(failed)`. On a Jetson, tegrastats tells power, temperature and GPU load.
"""
EXAMPLES = """\
examples:
  ghost-deploy bench out/best --runtime ort openvino --images photos
  ghost-deploy bench out/ghost --baseline out/plain --precision fp16
  ghost-deploy bench out/best --threads 1 2 4 --streams 1 2 --json > latency.json
"""

_DEMO_SCENES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundles", nargs="+", metavar="BUNDLE", help="folder that `export` wrote")
    parser.add_argument("--runtime", nargs="+", metavar="R", help="runtimes (default: all)")
    parser.add_argument("--precision", nargs="+", metavar="P", help="precisions (default: all)")
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
    parser.add_argument(
        "--images",
        metavar="DIR",
        help="images to run on: folder, file or glob (default: demo scenes)",
    )
    parser.add_argument(
        "--baseline", metavar="BUNDLE", help="bundle or model that the others are compared with"
    )
    parser.add_argument(
        "--duration",
        type=_seconds,
        metavar="S",
        help="seconds to measure each candidate (default: 10)",
    )
    parser.add_argument(
        "--rounds", type=positive, metavar="N", help="turns each has in that time (default: 20)"
    )
    parser.add_argument(
        "--save", action="store_true", help="store the figures in each bundle, as its latency"
    )
    add_json(parser)
    add_run_options(parser, several_threads=True)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure and print."""
    report = _measure(args, console)
    if args.json:
        console.document(report.to_document())
    else:
        from ghost_deploy.cli.latency_table import print_latency

        print_latency(report, console)
    if args.save:
        _save(args, report, console)
    return 0 if report.complete else 2


def _measure(args: argparse.Namespace, console: Console) -> BenchReport:
    from ghost_deploy.core.evidence.latency import Settings
    from ghost_deploy.judge.bench.benchmark import run_bench
    from ghost_deploy.judge.bench.selection import Wishes
    from ghost_deploy.runtimes import RuntimeOptions

    wishes = Wishes(
        runtimes=args.runtime,
        precisions=args.precision,
        batches=args.batch,
        threads=args.threads,
        streams=args.streams,
        options=RuntimeOptions(device=args.device, allow_fallback=args.allow_fallback),
    )
    given = {"duration_s": args.duration, "rounds": args.rounds}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    with _images(args.images) as (images, source), Rounds(console) as progress:
        return run_bench(
            args.bundles,
            images,
            baseline=args.baseline,
            wishes=wishes,
            settings=settings,
            image_source=source,
            progress=progress,
        )


@contextlib.contextmanager
def _images(source: str | None) -> Iterator[tuple[list[Path], str]]:
    """The files to measure on and what they are; without any, demo scenes for the while."""
    import tempfile

    import cv2

    from ghost_deploy.demo.scenes import make_scene
    from ghost_deploy.processing import list_images

    if source is not None:
        yield list_images(source), Path(source).name
        return
    with tempfile.TemporaryDirectory(prefix="ghost-deploy-") as folder:
        paths = [Path(folder) / f"scene{seed}.jpg" for seed in range(_DEMO_SCENES)]
        for seed, path in enumerate(paths):
            cv2.imwrite(str(path), make_scene(seed).image)
        yield paths, "demo scenes"


class Rounds(contextlib.AbstractContextManager["Rounds"]):
    """A line for each step before the measuring, then a bar of rounds."""

    def __init__(self, console: Console, steps: Steps | None = None) -> None:
        self._console = console
        self._steps = steps or Steps(console)
        self._stack = contextlib.ExitStack()
        self._bar: Progress | None = None

    def __call__(self, what: str, done: int, total: int) -> None:
        if not total:
            self._steps(what, done, total)
            return
        if self._bar is None:
            self._steps(f"{what} {total} rounds", 0, 0)
            self._bar = self._stack.enter_context(self._console.progress(what, total))
        self._bar.reach(done)

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._steps.finish()


def _save(args: argparse.Namespace, report: BenchReport, console: Console) -> None:
    """Store in each bundle what was measured of it."""
    from ghost_deploy.judge.bench.selection import open_subjects

    models = [*args.bundles, *([args.baseline] if args.baseline else [])]
    for subject in open_subjects(models):
        if subject.bundle is None:
            console.note(f"{subject.name} is no bundle: its figures were not stored")
            continue
        subject.bundle.with_evidence(report.only([subject.name])).save()
        console.note(f"latency stored in {subject.bundle.path}")


def _seconds(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value
