"""Timing several things side by side, so that a drifting machine cannot favour one of them."""

from __future__ import annotations

import platform
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any

__all__ = ["Ratio", "interleave", "machine", "ratio"]


@dataclass(frozen=True)
class Ratio:
    """How many times longer one thing takes than another: median and quartiles of the ratios of
    neighbouring runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f} to {self.high:.3f})"


def interleave(
    tasks: Mapping[str, Callable[[], Any]], *, rounds: int = 100, warmup: int = 10, seed: int = 0
) -> dict[str, list[float]]:
    """Run every task once a round, in an order drawn anew for each round.

    Returns:
        For each task the milliseconds of every counted round; index i is round i for all.
    """
    order = list(tasks)
    shuffle = random.Random(seed).shuffle
    samples: dict[str, list[float]] = {name: [] for name in order}
    for count in range(warmup + rounds):
        shuffle(order)
        for name in order:
            start = perf_counter_ns()
            tasks[name]()
            elapsed = (perf_counter_ns() - start) / 1e6
            if count >= warmup:
                samples[name].append(elapsed)
    return samples


def ratio(numerator: list[float], denominator: list[float]) -> Ratio:
    """The ratio of two tasks, round by round."""
    low, median, high = statistics.quantiles(
        [a / b for a, b in zip(numerator, denominator, strict=True)], n=4
    )
    return Ratio(median=median, low=low, high=high)


def machine() -> str:
    """One line that names the processor and the versions that matter."""
    import os
    from importlib import metadata

    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as file:
            models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
        name = models[0] if models else name
    except OSError:
        pass  # not Linux: the platform's own word stays
    packages = ("onnxruntime", "openvino", "opencv-python-headless", "numpy")
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    return f"{name}, {len(os.sched_getaffinity(0))} cores; {versions}"
