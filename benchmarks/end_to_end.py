"""What pre- and post-processing cost: decoded image to `Detections`, over the bare runtime call.

    python -m benchmarks.end_to_end BUNDLE IMAGES

For each runtime the same opened model takes both roads in turn, one image at a time:
`detector(image)` and `runtime.run(feeds)` on the tensor of that image.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

import ghost_deploy as gd
from benchmarks.interleave import Ratio, interleave, machine, ratio
from ghost_deploy.processing.images import list_images, read_image


def measure(
    detector: gd.Detector, images: Sequence[NDArray[np.uint8]], rounds: int
) -> tuple[Ratio, dict[str, float]]:
    """The ratio end to end / bare, and the median milliseconds of each stage."""
    shown = itertools.cycle(images)
    feeds, boxes = detector.preprocess([images[0]])
    feeds = {name: array.copy() for name, array in feeds.items()}
    outputs = {name: array.copy() for name, array in detector.runtime.run(feeds).items()}
    tasks: dict[str, Callable[[], object]] = {
        "end to end": lambda: detector(next(shown)),
        "bare": lambda: detector.runtime.run(feeds),
        "pre": lambda: detector.preprocess([next(shown)]),
        "post": lambda: detector.postprocess(outputs, boxes),
    }
    samples = interleave(tasks, rounds=rounds)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    return ratio(samples["end to end"], samples["bare"]), medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--runtime", nargs="+", default=["openvino", "ort"])
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    arguments = parser.parse_args()
    images = [read_image(path) for path in list_images(arguments.images)[:20]]
    print(machine())
    print("runtime precision   end to end / bare          end to end   bare    pre   post  ms")
    for name, precision in itertools.product(arguments.runtime, arguments.precision):
        with gd.load(arguments.bundle, runtime=name, precision=precision) as detector:
            found, medians = measure(detector, images, arguments.rounds)
        stages = "  ".join(f"{medians[stage]:6.2f}" for stage in medians)
        print(f"{name:9}{precision:10}{found!s:27}  {stages}")


if __name__ == "__main__":
    main()
