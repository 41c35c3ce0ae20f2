"""`ghost-deploy validate`: mAP of every artifact on labelled images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import add_json, add_run_options, points

if TYPE_CHECKING:
    from ghost_deploy.core.bundle import Bundle
    from ghost_deploy.core.evidence.accuracy import AccuracyReport

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = """\
Measure COCO's mAP of every artifact of a bundle, on every runtime that is installed, on labelled
images. What an artifact lost is judged by its precision: at most 0.1 point of mAP50-95 in fp32
and fp16, 0.5 in int8 unless its calibration was given another bar; more than that is exit code 1.
With --checkpoint the PyTorch module is the reference, and its mAP is compared with the one that the
training recorded; without, the first fp32 artifact stands in: measured alone, it is told, not
judged. The report is stored in the bundle, without its curves and pictures; --json has them too,
for `ghost-deploy report`.
"""
EXAMPLES = """\
examples:
  ghost-deploy validate out/best --data data.yaml --checkpoint best.pt
  ghost-deploy validate out/best --data data.yaml --split test --runtime ort --precision fp16
  ghost-deploy validate out/best --data instances_val.json --images val --json > accuracy.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that `export` wrote")
    parser.add_argument(
        "--data", metavar="D", required=True, help="labelled images: data.yaml or COCO JSON"
    )
    parser.add_argument("--images", metavar="DIR", help="folder of the images of a COCO JSON")
    parser.add_argument(
        "--split", metavar="NAME", default="val", help="part of a data.yaml (default: val)"
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="what the bundle was made from: the exact reference"
    )
    parser.add_argument(
        "--modules",
        metavar="FILE.py",
        action="append",
        default=[],
        help="Python file with classes that the checkpoint names; it is run, so trust it",
    )
    parser.add_argument("--runtime", nargs="+", metavar="R", help="runtimes (default: all)")
    parser.add_argument("--precision", nargs="+", metavar="P", help="precisions (default: all)")
    parser.add_argument(
        "--max-drop",
        type=points,
        metavar="POINTS",
        help="largest loss of mAP50-95 that passes, in points (default: by precision)",
    )
    parser.add_argument(
        "--map-classes",
        action="store_true",
        help="match the data's classes with the model's by name, whatever their order",
    )
    parser.add_argument(
        "--skip-broken-labels",
        action="store_true",
        help="go on without labels that cannot be used, and say how many they were",
    )
    add_json(parser)
    add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure, print, and store the report in the bundle."""
    from ghost_deploy.core.bundle import Bundle

    bundle = Bundle.read(args.bundle)
    report = _measure(args, bundle, console)
    if args.json:
        console.document(report.to_document())
    else:
        from ghost_deploy.cli.accuracy_table import print_accuracy

        print_accuracy(report, console)
    _store(bundle, report, console)
    return 0 if report.passed or report.unjudged else 1


def _measure(args: argparse.Namespace, bundle: Bundle, console: Console) -> AccuracyReport:
    from ghost_deploy.api.common import load_checkpoint, require

    require("pycocotools", "validate")
    from ghost_deploy.judge.accuracy.validation import run_accuracy
    from ghost_deploy.judge.datasets.opening import open_dataset
    from ghost_deploy.runtimes import RuntimeOptions

    dataset = open_dataset(
        args.data, split=args.split, images=args.images, skip_broken=args.skip_broken_labels
    )
    loaded = load_checkpoint(args.checkpoint, args.modules) if args.checkpoint else None
    options = RuntimeOptions(
        device=args.device, threads=args.threads, allow_fallback=args.allow_fallback
    )
    with console.steps() as progress:
        return run_accuracy(
            bundle,
            dataset,
            loaded=loaded,
            runtimes=args.runtime,
            precisions=args.precision,
            options=options,
            max_drop=args.max_drop,
            map_classes=args.map_classes,
            progress=progress,
        )


def _store(bundle: Bundle, report: AccuracyReport, console: Console) -> None:
    from ghost_deploy.core.errors import BundleError

    kept = bundle.evidence.accuracy
    if report.unjudged and kept is not None and not kept.unjudged:
        console.note("nothing was judged: the bundle keeps the verdict that it has")
        return
    try:
        bundle.with_evidence(report.thin()).save()
    except BundleError as error:
        # A bundle on a read-only disk can be measured too.
        console.note(f"the report was not stored in the bundle: {error}")
