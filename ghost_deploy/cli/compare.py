"""`ghost-deploy compare`: a new model against an old one."""

from __future__ import annotations

import argparse

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console

DESCRIPTION = """\
Measure a new model against an old one on the same labelled images: paired mAP50-95 with an
interval, for each class too, the images on which they differ most, and the latency of both side by
side. OLD and NEW are bundles, of which is taken what `infer` would take, or .onnx, .xml and
checkpoint files; the same bundle twice with two precisions compares float with int8. If the new
model lost more than --max-drop points, the exit code is 1.
"""
EXAMPLES = """\
examples:
  ghost-deploy compare out/old out/new --data data.yaml -o compare.html
  ghost-deploy compare out/best out/best --precision fp32 int8 --data data.yaml
  ghost-deploy compare old.onnx new.onnx --data instances_val.json --images val --max-drop 0.2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    for name, text in (("old", "bundle or model in use"), ("new", "bundle or model to judge")):
        options.add_bundle(parser, name, metavar=name.upper(), help=text)
    options.add_data(parser, "labelled images: data.yaml or COCO JSON", required=True)
    options.add_value(parser, "--images", "DIR", "folder of the images of a COCO JSON")
    both = "of both, or of the old and the new one"
    text = f"runtime {both}: {options.runtime_names()} (default: auto)"
    options.add_value(parser, "--runtime", "R", text, nargs="+", dest="runtimes", default=["auto"])
    text = f"precision {both} (default: the most exact there)"
    options.add_value(parser, "--precision", "P", text, nargs="+", dest="precisions")
    text = "largest loss of mAP50-95 that passes, in points (default: 0.5)"
    options.add_value(parser, "--max-drop", "POINTS", text, options.points, default=0.5)
    options.add_switches(
        parser,
        {
            "--map-classes": "compare the classes that both have and the data names, by name",
            "--skip-broken-labels": "go on without labels that cannot be used, and count them",
        },
    )
    text = "seconds to time each model; 0 leaves the times out (default: 5)"
    options.add_value(
        parser, "--duration", "S", text, options.seconds, default=5.0, dest="duration_s"
    )
    parser.add_argument("-o", "--out", metavar="FILE", help="write the result as a page")
    options.add_image_limits(parser)
    options.add_json(parser)
    options.add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Measure, print and write."""
    from ghost_deploy import api

    with console.steps() as progress:
        report = api.compare(**options.arguments(args, "out"), progress=progress)
    if args.out:
        from ghost_deploy.report.comparison_page import write_comparison

        write_comparison(report, args.out)
        console.note(f"wrote {args.out}")
    if args.json:
        console.document(report.to_document())
    else:
        from ghost_deploy.cli.tables import print_comparison

        print_comparison(report, console)
    return 0 if report.outcome else 1
