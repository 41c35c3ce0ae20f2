"""What the stopwatch of `ghost-deploy bench` adds to the vendor's own call.

    python -m benchmarks.overhead BUNDLE IMAGES

For each runtime one model is opened. In each round three things take turns in an order drawn
anew: bench's `run_alone`, bench's walks (file to detections), and a bare loop around the vendor's
call on the very same session and tensor. Nothing but our layers then differs between the first
and the last. Within a walk the call finds the caches and threads as decoding and preprocessing
left them; that is what a deployment pays and no overhead of the stopwatch, so it stands beside.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter_ns
from typing import Any

import ghost_deploy as gd
from benchmarks.interleave import machine, ratio
from ghost_deploy.bench.station import Lane, Station
from ghost_deploy.bench.stats import shuffled
from ghost_deploy.processing import list_images

LIMIT = 1.02
"""`run_alone` over the bare loop, at most."""


def vendor_call(runtime: Any, feeds: dict[str, Any]) -> Callable[[], Any]:
    """The vendor's call that `runtime` ends in, on its own session."""
    if runtime.info.runtime == "ort":
        names = [spec.name for spec in runtime.outputs]
        return partial(runtime._session.run, names, feeds)
    return partial(runtime._request.infer, feeds, share_inputs=True, share_outputs=True)


def bare_loop(call: Callable[[], Any], seconds: float) -> list[float]:
    """Milliseconds of each call in so many seconds, the first of them uncounted."""
    end = perf_counter_ns() + round(seconds * 1e9)
    call()
    times: list[float] = []
    while not times or perf_counter_ns() < end:
        start = perf_counter_ns()
        call()
        times.append((perf_counter_ns() - start) / 1e6)
    return times


def measure(
    detector: gd.Detector, images: str, rounds: int, seconds: float
) -> dict[str, list[float]]:
    """The median milliseconds of every round, by what was timed."""
    paths = list_images(images)[:20]
    feeds, _ = detector.preprocess([paths[0]])
    call = vendor_call(detector.runtime, {name: array.copy() for name, array in feeds.items()})
    station = Station([Lane(detector.runtime, detector.spec, paths)])
    tasks: dict[str, Callable[[], list[float]]] = {
        "run_alone": lambda: station.turn("run_alone", seconds).samples["run_alone"],
        "run": lambda: station.turn("walk", seconds).samples["run"],
        "bare": lambda: bare_loop(call, seconds),
    }
    names, medians = list(tasks), {name: list[float]() for name in tasks}
    for count, order in enumerate(shuffled(len(names), rounds + 1)):
        for index in order:
            times = tasks[names[index]]()
            if count:  # the first round warms up
                medians[names[index]].append(statistics.median(times))
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("images")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.25, help="of each turn")
    parser.add_argument("--runtime", nargs="+", default=["openvino", "ort"])
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    print(machine())
    print("runtime    run_alone / bare           run in a walk / bare       bare ms  within 2 %")
    for name in arguments.runtime:
        with gd.load(arguments.bundle, runtime=name, threads=arguments.threads) as detector:
            medians = measure(detector, arguments.images, arguments.rounds, arguments.seconds)
        alone, within = (ratio(medians[key], medians["bare"]) for key in ("run_alone", "run"))
        bare = statistics.median(medians["bare"])
        verdict = "yes" if alone.median <= LIMIT else "no"
        print(f"{name:9}  {alone!s:25}  {within!s:25}  {bare:7.2f}  {verdict}")


if __name__ == "__main__":
    main()
