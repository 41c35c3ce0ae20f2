"""Timing several things in one process, side by side, so that a drifting machine favours none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from ghost_deploy.core.evidence.latency import Ratio
from ghost_deploy.judge.bench.snapshot import take_snapshot
from ghost_deploy.judge.bench.statistics import ratio, shuffled

__all__ = ["Ratio", "interleave", "machine", "ratio"]


def interleave(
    tasks: Mapping[str, Callable[[], Any]], *, rounds: int = 100, warmup: int = 10, seed: int = 0
) -> dict[str, list[float]]:
    """Run every task once a round, in an order drawn anew for each round.

    Returns:
        For each task the milliseconds of every counted round; index i is round i for all.
    """
    names = list(tasks)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for count, order in enumerate(shuffled(len(names), warmup + rounds, seed)):
        for index in order:
            start = perf_counter_ns()
            tasks[names[index]]()
            elapsed = (perf_counter_ns() - start) / 1e6
            if count >= warmup:
                samples[names[index]].append(elapsed)
    return samples


def machine() -> str:
    """One line that names the processor and the versions that matter."""
    return take_snapshot().sentence
