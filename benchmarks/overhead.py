"""What the stopwatch of `ghost-deploy bench` adds to the vendor's own call.

    python -m benchmarks.overhead BUNDLE IMAGES

For each runtime one model is opened, and bench's `run_alone` and a bare call of the vendor, on
the very same session and tensor, take turns call by call in an order drawn anew for each pair:
nothing but our layers differs. Then the same with `run` between decoding and postprocessing.
There the call finds the caches and threads as decoding and preprocessing left them; that is what
a deployment pays and no overhead of the stopwatch, so it is shown but not judged.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import ghost_deploy as gd
from benchmarks.interleave import machine
from ghost_deploy.judge.bench.statistics import shuffled
from ghost_deploy.judge.bench.timer import RUN_ALONE, Stream
from ghost_deploy.processing.images import list_images

LIMIT = 0.02
"""How far `run_alone` may be from the bare call, as a share of it."""

WARMUP = 20


def vendor_call(runtime: Any, feeds: dict[str, Any]) -> Callable[[], Any]:
    """The vendor's call that `runtime` ends in, on its own session."""
    if runtime.info.runtime == "ort":
        names = [spec.name for spec in runtime.outputs]
        return partial(runtime._session.run, names, feeds)
    return partial(runtime._request.infer, feeds, share_inputs=True, share_outputs=True)


def bare(call: Callable[[], Any]) -> int:
    """Nanoseconds of one call."""
    start = perf_counter_ns()
    call()
    return perf_counter_ns() - start


def pairs(ours: Callable[[], int], theirs: Callable[[], int], count: int) -> list[float]:
    """The ratio ours / theirs of `count` neighbouring measurements, each by its own stopwatch."""
    tasks = (ours, theirs)
    ratios = []
    for order in shuffled(2, WARMUP + count):
        times = {index: tasks[index]() for index in order}
        ratios.append(times[0] / times[1])
    return ratios[WARMUP:]


def interval(values: list[float]) -> tuple[float, float]:
    """Where the median lies with 95 % confidence.

    By order statistics: the number of values below the median is binomial with p = 1/2, whose
    95 % range is n/2 +- 1.96 * sqrt(n) / 2.
    """
    ranked, half = sorted(values), 0.98 * math.sqrt(len(values))
    middle = len(values) / 2
    low, high = math.floor(middle - half), math.ceil(middle + half)
    return ranked[max(low, 0)], ranked[min(high, len(ranked) - 1)]


def verdict(low: float, high: float) -> str:
    """Whether an interval lies within `LIMIT` of 1."""
    if low >= 1 - LIMIT and high <= 1 + LIMIT:
        return "within 2 %"
    if high < 1 - LIMIT or low > 1 + LIMIT:
        return "NOT within 2 %"
    return "not decided: too noisy, take more --pairs"


def measure(detector: gd.Detector, images: str, count: int) -> None:
    """Print what was found for one opened model."""
    paths = list_images(images)[:20]
    stream = Stream(detector.runtime, detector.spec, paths)
    call = vendor_call(detector.runtime, stream._feeds)
    for name, ours in (
        ("run_alone", lambda: stream.run_alone()[RUN_ALONE]),
        ("run end to end", lambda: stream.end_to_end()["run"]),
    ):
        ratios = pairs(ours, partial(bare, call), count)
        low, high = interval(ratios)
        judged = verdict(low, high) if name == "run_alone" else ""
        middle = statistics.median(ratios)
        line = f"{detector.runtime.info.runtime:9} {name:14} {middle:.4f} ({low:.4f} to {high:.4f})"
        print(f"{line}  {judged}".rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--runtime", nargs="+", default=["openvino", "ort"])
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    print(machine())
    print("runtime   figure         over the bare call (95 % interval of the median)")
    for name in arguments.runtime:
        with gd.load(arguments.bundle, runtime=name, threads=arguments.threads) as detector:
            measure(detector, arguments.images, arguments.pairs)


if __name__ == "__main__":
    main()
