"""What NCNN's int8 files lose on labelled images, by recipe, beside the naive setting.

    python -m benchmarks.ncnn_int8 BUNDLE --calib IMAGES --data data.yaml

The bundle has an fp32 ONNX file. All files come from one set of statistics and are judged on all
images by NCNN itself. Both differences are points of mAP50-95 with the paired 95 per cent interval:
what is lost against fp32, and against the naive setting (everything int8, one scale for each weight
tensor, ranges from minimum to maximum).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx

from ghost_deploy.api.common import cache_dir
from ghost_deploy.calib.forms import int8_form, recipes_for
from ghost_deploy.calib.images.collection import collect_images
from ghost_deploy.calib.quantize.conventions import NAIVE, PlacementOptions
from ghost_deploy.calib.ranges.collect import collect_statistics
from ghost_deploy.calib.ranges.methods import METHODS
from ghost_deploy.calib.recipes import Recipe
from ghost_deploy.calib.search.int8_builder import Int8Builder
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.judge.accuracy.int8_judge import int8_judge
from ghost_deploy.judge.accuracy.paired_loss import Loss, PairedLoss
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.runtimes.base import RuntimeOptions

FORM = "ncnn"


def recipes() -> Iterator[Recipe]:
    """The naive setting first, then all that a search tries, then more convolutions in int8."""
    yield Recipe("naive", FORM, NAIVE, method="minmax")
    known = [each for variant in recipes_for(int8_form(FORM)) for each in variant]
    yield from (each for each in known if each.options != NAIVE)
    others = {
        "all convolutions": PlacementOptions(),
        "first int8, depthwise float": PlacementOptions(depthwise="float"),
    }
    for label, options in others.items():
        for method in METHODS:
            if all((each.options, each.method) != (options, method) for each in known):
                yield Recipe(f"{method}, {label}", FORM, options, method=method)


def main() -> None:
    """Print a row for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--calib", required=True)
    parser.add_argument("--data", required=True)
    args = parser.parse_args()
    bundle = Bundle.read(Path(args.bundle))
    source = bundle.verified_path(bundle.artifact("onnx", "fp32"))
    images = collect_images(args.calib)
    statistics = collect_statistics(source, images, bundle.spec.input, cache_dir=cache_dir())
    data = open_dataset(args.data, split="val")
    judge = int8_judge(bundle.spec, source, data, RuntimeOptions())
    print(f"fp32: {judge.facts.reference:.2f} points, {judge.facts.images} images")
    classes, naive = len(bundle.spec.class_names), None
    with tempfile.TemporaryDirectory() as folder:
        builder = Int8Builder(
            source, onnx.load(source), bundle.spec, images, statistics.tensors, Path(folder)
        )
        for recipe in recipes():
            built = builder.build(recipe)
            measured = judge._measure("ncnn", built.path, recipe.label)
            loss = PairedLoss(judge.reference, classes).of(measured.matches)
            naive = naive or measured.matches
            other = PairedLoss(naive, classes).of(measured.matches)
            share = 100 * (built.planned_share or 0)
            name = f"{recipe.name:<44}"
            print(f"{name}{share:5.1f} %  {_shown(loss)}   {_shown(other)}", flush=True)


def _shown(loss: Loss) -> str:
    return f"{loss.points:6.2f} ({loss.low:5.2f} to {loss.high:5.2f})"


if __name__ == "__main__":
    main()
