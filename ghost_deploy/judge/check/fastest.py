"""What `check` decided on this machine: which artifact is the fastest of those verified here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.bundle.verdicts import failed_verdicts
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.judge.check.verdict_store import VerdictStore, verdict_key
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import PlannedRun, plan_runs

T = TypeVar("T")

_EXACTNESS = ("fp32", "fp16", "bf16", "int8")

_SAME_SPEED = 1.03
"""Ratio of times that counts as equal: two runs of the benchmark differ by as much."""


@dataclass(frozen=True)
class TimedRun(Generic[T]):
    """Something verified, its precision and its median time in milliseconds."""

    what: T
    precision: str
    p50_ms: float


def fastest(runs: Iterable[TimedRun[T]]) -> T | None:
    """The fastest; of those that take as long the most exact. None without any.

    Args:
        runs: timed in turns.
    """
    timed = list(runs)
    limit = _SAME_SPEED * min((each.p50_ms for each in timed), default=0.0)
    equal = [each for each in timed if each.p50_ms <= limit]
    order = sorted(equal, key=lambda each: (_EXACTNESS.index(each.precision), each.p50_ms))
    return order[0].what if order else None


def fastest_verified(
    bundle: Bundle, runtime: str, options: RuntimeOptions, store: VerdictStore
) -> PlannedRun:
    """The run that `check` found to be the fastest on this machine.

    Args:
        bundle: whose artifacts are considered.
        runtime: a key of `RUNTIMES`, or `auto` for all.
        options: the device.
        store: of verdicts.

    Raises:
        UsageError: unknown runtime.
        UnavailableError: no artifact was verified and timed on this machine and device.
    """
    runs = plan_runs(bundle, None if runtime == "auto" else [runtime])
    found = fastest(_timed(bundle, runs, options, store))
    if found is None:
        on = "" if options.device == "cpu" else f" --device {options.device}"
        raise UnavailableError(
            f"nothing of {bundle.path} was verified and timed on this machine"
            + ("" if runtime == "auto" else f" on {runtime}"),
            fix=f"Do it once, while the machine does nothing else: ghost-deploy check "
            f"{bundle.path}{on}",
        )
    return found


def decided_here(
    bundle: Bundle, run: PlannedRun, options: RuntimeOptions, store: VerdictStore
) -> PlannedRun:
    """The candidate that `check` found to be the fastest here in the place of `run`.

    Candidates are the artifacts of one runtime and precision: an int8 graph in several placements.
    `run` itself where check has not decided.

    Args:
        bundle: that holds them.
        run: the one that is taken on all machines.
        options: the device.
        store: of verdicts.
    """
    candidates = plan_runs(bundle, [run.row.name], [run.precision])
    if sum(not each.foreign for each in candidates) < 2:
        return run
    return fastest(_timed(bundle, candidates, options, store)) or run


def _timed(
    bundle: Bundle, runs: Iterable[PlannedRun], options: RuntimeOptions, store: VerdictStore
) -> Iterable[TimedRun[PlannedRun]]:
    for run in runs:
        if run.foreign or not run.row.installed or options.device_kind not in run.row.devices:
            continue
        if failed_verdicts(bundle, run.artifact, run.row.name, run.precision):
            continue
        verdict = store.get(verdict_key(bundle, run, options.device))
        if verdict is not None and verdict.verified and verdict.p50_ms is not None:
            yield TimedRun(run, run.precision, verdict.p50_ms)
