"""From turns to figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ghost_deploy.core.evidence.latency import BenchRow, Figures, RunConfig
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.judge.bench.power import Interval, Sampler, power_figures
from ghost_deploy.judge.bench.selection import label_of
from ghost_deploy.judge.bench.statistics import relative_spread, round_medians, summarize
from ghost_deploy.judge.bench.timer import RUN_ALONE, STAGES, WALK, Turn
from ghost_deploy.judge.bench.worker_main import Ready

__all__ = ["NOISY_SPREAD", "figures_of", "warnings_of"]

NOISY_SPREAD = 0.1
"""Rounds that differ by more make a machine too restless for small differences."""

_BUSY_SHARE = 0.25
"""Load before the run, over the CPUs, from which on other programs count."""


def figures_of(
    turns: Sequence[tuple[Interval, Turn]],
    config: RunConfig,
    ready: Ready,
    peak_bytes: int,
    sampler: Sampler | None,
) -> Figures:
    """The figures of one candidate from its turns, at least one of bare calls."""
    walks = [turn for _, turn in turns if turn.phase == WALK]
    calls = [turn for _, turn in turns if turn.phase != WALK]
    samples = {name: [turn.samples[name] for turn in walks] for name in STAGES if walks}
    samples[RUN_ALONE] = [turn.samples[RUN_ALONE] for turn in calls]
    images = config.batch * config.streams
    work = walks or calls
    intervals = [interval for interval, turn in turns if turn.phase == work[0].phase]
    power = None
    if sampler is not None:
        power = power_figures(sampler.within(intervals), _rate(work))
    return Figures(
        stages={
            name: summarize([time for times in rounds for time in times], images)
            for name, rounds in samples.items()
        },
        throughput=_rate(walks) if walks else None,
        run_throughput=_rate(calls),
        spread=relative_spread(round_medians(samples[RUN_ALONE])),
        cpu_cores=sum(turn.cpu_s for turn in work) / _wall(work),
        load_ms=ready.load_ms,
        first_run_ms=ready.first_run_ms,
        start_bytes=ready.start_bytes,
        peak_bytes=peak_bytes,
        samples=samples,
        rates=[_rate([turn]) for turn in walks],
        run_rates=[_rate([turn]) for turn in calls],
        power=power,
    )


def warnings_of(rows: Sequence[BenchRow], snapshot: Snapshot) -> Iterator[str]:
    """What makes the figures doubtful."""
    load, cpus = snapshot.load_before, snapshot.machine.cpus
    if load is not None and load > _BUSY_SHARE * cpus:
        yield f"the machine was busy before: load {load:.1f} on {cpus} CPUs"
    spreads = [row.figures.spread for row in rows if row.figures]
    if spreads and max(spreads) > NOISY_SPREAD:
        yield (
            f"the machine is noisy: rounds of one candidate differ by up to {max(spreads):.0%}; "
            "trust the ratios more than the times, and measure longer on an idle machine"
        )
    for row in rows:
        if row.status != "measured":
            name = label_of(row.subject, row.artifact, row.config)
            yield f"{name} was not measured ({row.status}): {row.reason}"
    against = (
        f"{label_of(row.subject, row.artifact, row.config)} {sentence}"
        for row in rows
        for sentence in row.against
    )
    yield from dict.fromkeys(against)


def _rate(turns: Sequence[Turn]) -> float:
    """Images per second."""
    return sum(turn.images for turn in turns) / _wall(turns)


def _wall(turns: Sequence[Turn]) -> float:
    return sum(turn.wall_s for turn in turns)
