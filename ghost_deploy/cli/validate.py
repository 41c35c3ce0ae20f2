"""`ghost-deploy validate`: mAP of every artifact on labelled images."""

from __future__ import annotations

import argparse

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.server_options import add_server_options, server_arguments

DESCRIPTION = """\
Measure COCO's mAP of every artifact of a bundle, on every runtime that is installed, on labelled
images. What an artifact lost is judged by its precision: at most 0.1 point of mAP50-95 in fp32
and fp16, 0.5 in int8 unless its calibration was given another limit; more is exit code 1. With
--checkpoint the PyTorch module is the reference, and its mAP is compared with the one that the
training recorded; without, the first fp32 artifact is: measured alone, it is reported, not judged.
The report is stored in the bundle, without its curves and images; --json has them too, for
`ghost-deploy report`.

--choose-thresholds finds the confidence of each class on that data; `infer` and gd.Detector use it
from then on, and --conf overrides it. A class with fewer than 20 objects keeps the default.
"""
EXAMPLES = """\
examples:
  ghost-deploy validate out/best --data data.yaml --checkpoint best.pt
  ghost-deploy validate out/best --data data.yaml --split test --runtime ort --precision fp16
  ghost-deploy validate out/best --data data.yaml --choose-thresholds --metric precision=0.95
  ghost-deploy validate out/best --data instances_val.json --images val --json > accuracy.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_bundle(parser)
    options.add_data(parser, "labelled images: data.yaml or COCO JSON", required=True)
    options.add_value(parser, "--images", "DIR", "folder of the images of a COCO JSON")
    checkpoint = "what the bundle was exported from: the reference"
    options.add_value(parser, "--checkpoint", "FILE", checkpoint)
    options.add_modules(parser)
    options.add_fork(parser)
    options.add_other_checkpoint(parser)
    options.add_selection(parser)
    options.add_max_drop(
        parser, "largest loss of mAP50-95 that passes, in points (default: by precision)"
    )
    options.add_switches(
        parser,
        {
            "--map-classes": "match the data's classes with the model's by name, in any order",
            "--skip-broken-labels": "go on without labels that cannot be used, and count them",
        },
    )
    text = "choose the score threshold of each class, and make them the default of the bundle"
    options.add_switches(parser, {"--choose-thresholds": text})
    metric = "f1, precision=P or recall=R: what they are chosen for (default: f1)"
    options.add_value(parser, "--metric", "M", metric)
    options.add_image_limits(parser)
    options.add_slices(parser)
    options.add_json(parser)
    options.add_on(parser)
    options.add_run_options(parser)
    add_server_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure and print; the report is stored in the bundle."""
    from ghost_deploy import api

    notes: list[str] = []
    arguments = {**server_arguments(args, "slices", "overlap"), **options.slices_of(args)}
    with console.steps() as progress:
        report = api.validate(**arguments, progress=progress, note=notes.append)
    if args.json:
        console.document(report.to_document())
    else:
        from ghost_deploy.cli.tables import print_accuracy

        print_accuracy(report, console)
    for note in notes:
        console.note(note)
    return 0 if report.passed or report.unjudged else 1
