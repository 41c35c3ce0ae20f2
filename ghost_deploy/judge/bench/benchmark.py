"""A benchmark run: open all candidates, let them take turns, compute the figures."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import (
    BackendError,
    GhostDeployError,
    InputError,
    UnavailableError,
    UsageError,
)
from ghost_deploy.core.evidence.latency import BenchReport, BenchRow, ImagesUsed, Obtained, Settings
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.judge.bench.power import Sampler, TimeSpan, sampling
from ghost_deploy.judge.bench.ratios import compared
from ghost_deploy.judge.bench.selection import (
    BenchCandidate,
    Selection,
    Subject,
    candidates,
    label_of,
    open_subjects,
)
from ghost_deploy.judge.bench.snapshot import take_snapshot
from ghost_deploy.judge.bench.statistics import shuffled
from ghost_deploy.judge.bench.summaries import figures_of, warnings_of
from ghost_deploy.judge.bench.timer import PHASES, Phase, Turn
from ghost_deploy.judge.bench.worker_main import Task
from ghost_deploy.judge.bench.worker_process import Measurer, WorkerProcess
from ghost_deploy.runtimes.base import RuntimeOptions

_BROKEN = (BackendError, InputError)
"""What a damaged or wrong artifact raises when it is opened or run."""

_DEFAULT_SIZE = (640, 640)


@dataclass
class _Entry:
    """A candidate with its turns so far.

    Attributes:
        candidate: what is measured.
        wanted: the phases to time.
        measurer: None before it is open, or if it cannot be opened.
        error: why it cannot go on.
        turns: with the time span of each.
    """

    candidate: BenchCandidate
    wanted: Collection[Phase] = PHASES
    measurer: Measurer | None = None
    error: GhostDeployError | None = None
    turns: list[tuple[TimeSpan, Turn]] = field(default_factory=list)

    @property
    def phases(self) -> tuple[Phase, ...]:
        if self.measurer is None or self.error:
            return ()
        return tuple(each for each in self.measurer.ready.phases if each in self.wanted)

    @property
    def status(self) -> Literal["measured", "skipped", "failed"]:
        if self.error is None:
            return "measured"
        return "skipped" if isinstance(self.error, UnavailableError) else "failed"

    def take(
        self, phase: Phase, seconds: float, clock: Callable[[], float], *, count: bool
    ) -> None:
        """Measure one turn; after an error this candidate does nothing more, the others go on."""
        if self.measurer is None or self.error:
            return
        start = clock()
        try:
            turn = self.measurer.turn(phase, seconds)
        except _BROKEN as error:
            self.error = error
            return
        if count:
            self.turns.append(((start, clock()), turn))


def run_bench(
    models: Sequence[str | os.PathLike[str] | Bundle],
    images: Sequence[Path],
    *,
    baseline: str | os.PathLike[str] | Bundle | None = None,
    selection: Selection | None = None,
    settings: Settings | None = None,
    image_source: str = "files",
    phases: Collection[Phase] = PHASES,
    progress: Progress | None = None,
    open_measurer: Callable[[Task], Measurer] = WorkerProcess,
    clock: Callable[[], float] = time.monotonic,
) -> BenchReport:
    """Measure deployments side by side.

    Args:
        models: bundles or model files; of a file without description only the model is timed, on
            random numbers.
        images: image files, used in turn.
        baseline: what the others are compared with; default: the first row.
        selection: runtimes, precisions, batches, threads and streams.
        settings: durations.
        image_source: what the images are, for the report.
        phases: that are timed; the duration is shared by them.
        progress: called with what is being done.
        open_measurer: opens a task; default: in a process of its own.
        clock: monotonic seconds, of the same origin as the power samples.

    Returns:
        The report. Runs that are not possible on this machine are listed as skipped, runs that
        break as failed.

    Raises:
        UsageError: nothing to measure, no image, or an unknown name.
        BundleError: a bundle cannot be read or was changed.
        UnavailableError: a runtime or precision was named and is not on this machine.
        GhostDeployError: nothing can be opened; the error of the first candidate.
    """
    selection, settings = selection or Selection(), settings or Settings()
    progress = progress or silent
    if not images:
        raise UsageError("there is no image to measure on", fix="Name a folder with --images")
    subjects = open_subjects([*models, *([] if baseline is None else [baseline])])
    last = len(subjects) - 1 if baseline is not None else len(subjects)
    found = [
        candidate
        for index, subject in enumerate(subjects)
        for candidate in candidates(subject, selection, baseline=index == last)
    ]
    return bench_candidates(
        found,
        images,
        _size(subjects),
        selection.options,
        settings,
        image_source=image_source,
        phases=phases,
        progress=progress,
        open_measurer=open_measurer,
        clock=clock,
    )


def bench_candidates(
    found: Sequence[BenchCandidate],
    images: Sequence[Path],
    size_hw: tuple[int, int],
    options: RuntimeOptions,
    settings: Settings,
    *,
    image_source: str = "files",
    phases: Collection[Phase] = PHASES,
    progress: Progress = silent,
    open_measurer: Callable[[Task], Measurer] = WorkerProcess,
    clock: Callable[[], float] = time.monotonic,
) -> BenchReport:
    """Measure candidates side by side.

    Args:
        found: the candidates, in the order of the rows.
        images: at least one image file; they are used in turn.
        size_hw: (height, width) at which a model without description is run, pixels.
        options: device, and whether a fallback is allowed.
        settings, image_source, phases, progress, open_measurer, clock: as in `run_bench`.

    Raises:
        UnavailableError, GhostDeployError: as in `run_bench`.
    """
    entries = [_Entry(candidate, phases) for candidate in found]
    snapshot = take_snapshot()
    with ExitStack() as stack:
        for entry in entries:
            progress(f"loading {label_of(entry.candidate)}", 0, 0)
            task = _task(entry.candidate, images, options, size_hw)
            _open(entry, task, stack, open_measurer)
        if entries[0].error and not any(entry.phases for entry in entries):
            raise entries[0].error
        sampler = stack.enter_context(sampling())
        _measure(entries, settings, progress, clock)
        rows = compared([_row(entry, sampler) for entry in entries])
    return BenchReport(
        rows=tuple(rows),
        images=ImagesUsed(source=image_source, count=len(images)),
        settings=settings,
        snapshot=snapshot,
        warnings=tuple(warnings_of(rows, snapshot)),
    )


def _open(
    entry: _Entry, task: Task, stack: ExitStack, open_measurer: Callable[[Task], Measurer]
) -> None:
    try:
        entry.measurer = open_measurer(task)
    except UnavailableError as error:
        if entry.candidate.named:
            raise
        entry.error = error
    except _BROKEN as error:
        entry.error = error
    else:
        stack.callback(entry.measurer.close)


def _measure(
    entries: Sequence[_Entry], settings: Settings, progress: Progress, clock: Callable[[], float]
) -> None:
    """Warm up, then rounds in which each open candidate has one turn for each phase."""
    progress("warming up", 0, 0)
    for entry in entries:
        for phase in entry.phases:
            entry.take(phase, settings.warmup_s, clock, count=False)
    seconds = settings.duration_s / settings.rounds
    for done, order in enumerate(shuffled(len(entries), settings.rounds, settings.seed)):
        progress("measuring", done, settings.rounds)
        for index in order:
            phases = entries[index].phases
            for phase in phases:
                entries[index].take(phase, seconds / len(phases), clock, count=True)
    progress("measuring", settings.rounds, settings.rounds)


def _task(
    candidate: BenchCandidate,
    images: Sequence[Path],
    options: RuntimeOptions,
    size_hw: tuple[int, int],
) -> Task:
    return Task(
        path=str(candidate.path),
        config=candidate.config,
        images=tuple(str(path.resolve()) for path in images),
        size_hw=size_hw,
        spec=candidate.spec,
        device=options.device,
        allow_fallback=options.allow_fallback,
        server=options.server,
    )


def _size(subjects: Sequence[Subject]) -> tuple[int, int]:
    """The input size of the first bundle, at which a model without description is run too."""
    sizes = (subject.bundle.spec.input.size_hw for subject in subjects if subject.bundle)
    return next(sizes, _DEFAULT_SIZE)


def _row(entry: _Entry, sampler: Sampler | None) -> BenchRow:
    candidate, spec = entry.candidate, entry.candidate.spec
    figures = obtained = None
    if entry.measurer and entry.turns and not entry.error:
        figures = figures_of(
            entry.turns, candidate.config, entry.measurer.ready, entry.measurer.peak_bytes, sampler
        )
        obtained = msgspec.convert(entry.measurer.ready.info, Obtained, from_attributes=True)
    return BenchRow(
        subject=candidate.subject,
        baseline=candidate.baseline,
        artifact=candidate.artifact,
        sha256=candidate.sha256,
        bytes=candidate.bytes,
        model=spec.name if spec else "",
        family=spec.family if spec else "",
        config=candidate.config,
        status=entry.status,
        reason=str(entry.error) if entry.error else "",
        obtained=obtained,
        figures=figures,
        failed_verdicts=candidate.failed_verdicts,
    )
