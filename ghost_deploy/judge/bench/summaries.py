"""Figures of a candidate from its turns, and warnings about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from ghost_deploy.core.evidence.latency import BenchRow, LatencyFigures, RunConfig
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.judge.bench.power import Sampler, TimeSpan, power_figures
from ghost_deploy.judge.bench.selection import label_of
from ghost_deploy.judge.bench.statistics import relative_spread, round_medians, summarize
from ghost_deploy.judge.bench.timer import END_TO_END, RUN_ALONE, STAGES, Turn
from ghost_deploy.judge.bench.worker_main import Ready

NOISY_SPREAD = 0.1
"""Rounds that differ by more make a machine too restless for small differences."""

_APART, _OPPOSED = 1.15, 1.05
"""Ratios of times disagree from such a factor on; the smaller one where they disagree on which is
faster."""

_BUSY_SHARE = 0.25
"""Load before the run, over the CPUs, from which on other programs count."""


def figures_of(
    turns: Sequence[tuple[TimeSpan, Turn]],
    config: RunConfig,
    ready: Ready,
    peak_bytes: int,
    sampler: Sampler | None,
) -> LatencyFigures:
    """The figures of one candidate.

    Args:
        turns: with their time spans, at least one of `RUN_ALONE`.
        config: how it was run.
        ready: answer of its worker when it was opened.
        peak_bytes: most memory of its process.
        sampler: of power; None where the machine has none.
    """
    passes = [turn for _, turn in turns if turn.phase == END_TO_END]
    calls = [turn for _, turn in turns if turn.phase != END_TO_END]
    samples = {name: [turn.samples[name] for turn in passes] for name in STAGES if passes}
    samples[RUN_ALONE] = [turn.samples[RUN_ALONE] for turn in calls]
    images = config.batch * config.streams
    work = passes or calls
    intervals = [interval for interval, turn in turns if turn.phase == work[0].phase]
    return LatencyFigures(
        stages={
            name: summarize([time for times in rounds for time in times], images)
            for name, rounds in samples.items()
        },
        throughput=_rate(passes) if passes else None,
        run_throughput=_rate(calls),
        spread=relative_spread(round_medians(samples[RUN_ALONE])),
        cpu_cores=sum(turn.cpu_s for turn in work) / _wall(work),
        load_ms=ready.load_ms,
        first_run_ms=ready.first_run_ms,
        start_bytes=ready.start_bytes,
        peak_bytes=peak_bytes,
        samples=samples,
        rates=[_rate([turn]) for turn in passes],
        run_rates=[_rate([turn]) for turn in calls],
        power=power_figures(sampler.within(intervals), _rate(work)) if sampler else None,
    )


def warnings_of(rows: Sequence[BenchRow], snapshot: Snapshot) -> Iterator[str]:
    """Reasons to doubt the figures, in sentences."""
    name = _naming(rows)
    yield from machine_doubts(rows, snapshot)
    yield from _round_doubts(rows)
    if any(row.config.runtime == "kserve" for row in rows):
        yield "times of kserve include the network, and what else the server does"
    for row in rows:
        if row.status != "measured":
            yield f"{name(row)} was not measured ({row.status}): {row.reason}"
    failed = (f"{name(row)} {sentence}" for row in rows for sentence in row.failed_verdicts)
    yield from dict.fromkeys(failed)


def _naming(rows: Sequence[BenchRow]) -> Callable[[BenchRow], str]:
    """How to name a row: with its bundle where there are several."""
    return partial(label_of, with_subject=len({row.subject for row in rows}) > 1)


def machine_doubts(rows: Sequence[BenchRow], snapshot: Snapshot) -> Iterator[str]:
    """Whether the machine was busy or noisy, in sentences."""
    load, cpus = snapshot.load_before, snapshot.machine.cpus
    if load is not None and load > _BUSY_SHARE * cpus:
        yield f"the machine was busy before: load {load:.1f} on {cpus} CPUs"
    spreads = [row.figures.spread for row in rows if row.figures]
    if spreads and max(spreads) > NOISY_SPREAD:
        yield (
            f"the machine is noisy: rounds of one candidate differ by up to {max(spreads):.0%}; "
            "trust the ratios more than the times, and measure longer on an idle machine"
        )


def round_doubt(label: str, other: str, of_rounds: float, of_medians: float) -> Iterator[str]:
    """A sentence where two ways to compare times disagree: each is right on a quiet machine.

    Args:
        label, other: what is compared with what.
        of_rounds: the median of the ratios of rounds.
        of_medians: the quotient of the medians of all times.
    """
    apart = max(of_rounds / of_medians, of_medians / of_rounds)
    if apart > _APART or (apart > _OPPOSED and (of_rounds - 1) * (of_medians - 1) < 0):
        yield (
            f"the rounds disagree: round by round, {label} takes {of_rounds:.2f} times as long as "
            f"{other}, by the p50 of all times {of_medians:.2f} times; measure longer "
            "(bench --duration), on a quiet machine"
        )


def _round_doubts(rows: Sequence[BenchRow]) -> Iterator[str]:
    name = _naming(rows)
    for row in rows:
        found, own = row.comparison, row.figures
        if found is None or own is None:
            continue
        other = rows[found.reference]
        assert other.figures is not None
        for stage, ratio in ((RUN_ALONE, found.run), ("end_to_end", found.end_to_end)):
            if ratio is None:
                continue
            mine = own.stages[stage].p50 / row.config.batch
            theirs = other.figures.stages[stage].p50 / other.config.batch
            timed = "model alone" if stage == RUN_ALONE else "file to detections"
            label, than = name(row), name(other)
            doubts = list(round_doubt(f"{label} ({timed})", than, 1 / ratio.median, mine / theirs))
            if doubts:  # one of a row is enough: mostly both of its figures are doubtful
                yield doubts[0]
                break


def _rate(turns: Sequence[Turn]) -> float:
    """Images per second."""
    return sum(turn.images for turn in turns) / _wall(turns)


def _wall(turns: Sequence[Turn]) -> float:
    return sum(turn.wall_s for turn in turns)
