"""Measure the latency of models, side by side."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.api.common import AnyPath, Images, Note, find_images, log_note
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BundleError
from ghost_deploy.core.evidence.json_document import something_ran
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.inference_server import InferenceServer
from ghost_deploy.runtimes.served import server_of

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.latency import BenchReport

_DEMO_SCENES = 8


def bench(
    models: AnyPath | Bundle | Sequence[AnyPath | Bundle],
    images: Images = None,
    *,
    baseline: AnyPath | Bundle | None = None,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    batches: Sequence[int] | None = None,
    threads: Sequence[int] = (0,),
    streams: Sequence[int] = (1,),
    device: str = "cpu",
    allow_fallback: bool = False,
    url: str | InferenceServer | None = None,
    duration_s: float = 10.0,
    rounds: int = 20,
    image_source: str = "",
    store: bool = True,
    progress: Progress | None = None,
    note: Note | None = None,
) -> BenchReport:
    """Measure latency and throughput, host to host, of all candidates in turn.

    A candidate is an artifact on a runtime in a precision, with a batch, threads and streams; each
    runs in a process of its own.

    Args:
        models: bundles, or model files; one that is not ours is timed alone, on random numbers.
        images: what to run on: a folder, file or glob, or several; demo scenes when None.
        baseline: bundle or model that the others are compared with; the first candidate when None.
        runtimes, precisions: what is measured; all when None.
        batches: images a request; the smallest that each graph takes when None.
        threads: numbers of CPU threads; 0 lets the runtime choose.
        streams: numbers of concurrent requests, each to a copy of the model.
        device, allow_fallback: as in `load`.
        url: of a server that runs a model of each bundle, as in `load`: it is measured beside the
            runtimes of this machine, with the network between.
        duration_s: seconds to measure each candidate.
        rounds: turns that each candidate has in that time.
        image_source: what the images are, for the report; the name of the source by default.
        store: put the figures into each bundle's folder, in the place of those that it has.
        progress: called at each step.
        note: called for each model with `store`, see `store_latency`; logged by default.

    Returns:
        The report; `report.complete` says whether all candidates were measured.

    Raises:
        UsageError: nothing to measure, no image, or an unknown name.
        BundleError, ImageError: an input cannot be used.
        UnavailableError: a runtime or precision that was named is not on this machine.
    """
    from ghost_deploy.core.evidence.latency import Settings
    from ghost_deploy.judge.bench.benchmark import run_bench
    from ghost_deploy.judge.bench.selection import Selection

    several = [models] if isinstance(models, str | os.PathLike | Bundle) else list(models)
    selection = Selection(
        runtimes=runtimes,
        precisions=precisions,
        batches=batches,
        threads=threads,
        streams=streams,
        options=RuntimeOptions(
            device=device, allow_fallback=allow_fallback, server=server_of(None, url)
        ),
    )
    settings = Settings(duration_s=duration_s, rounds=rounds)
    with _files(images) as (files, source):
        report = run_bench(
            several,
            files,
            baseline=baseline,
            selection=selection,
            settings=settings,
            image_source=image_source or source,
            progress=_counting_rounds(progress or silent),
        )
    if store:
        store_latency(several if baseline is None else [*several, baseline], report, note)
    return report


def store_latency(
    models: Sequence[AnyPath | Bundle], report: BenchReport, note: Note | None = None
) -> None:
    """Put the figures of each bundle into its folder.

    Args:
        models: what was measured, in the same order.
        report: of `bench`.
        note: called for each model; by default one whose figures are not stored, because it is no
            bundle or its folder cannot be written to, is logged.
    """
    from ghost_deploy.judge.bench.selection import open_subjects

    for subject in open_subjects(models):
        if subject.bundle is None:
            (note or log_note)(f"{subject.name} is no bundle: its figures were not stored")
            continue
        own = report.only([subject.name])
        if not something_ran(row.status for row in own.rows):
            (note or log_note)(f"nothing of {subject.name} ran here: no figures were stored")
            continue
        try:
            Bundle.read(subject.bundle.path).with_evidence(own).save()
        except BundleError as error:
            (note or log_note)(f"the figures were not stored in the bundle: {error}")
            continue
        if note:
            note(f"latency stored in {subject.bundle.path}")


@contextlib.contextmanager
def _files(images: Images) -> Iterator[tuple[list[Path], str]]:
    """The image files and what they are; without any, demo scenes while the block runs."""
    found = find_images(images)
    if found is not None:
        yield found, Path(images).name if isinstance(images, str | os.PathLike) else "files"
        return
    import cv2

    from ghost_deploy.demo.scenes import make_scene

    with scratch_folder() as folder:
        paths = [folder / f"scene{seed}.jpg" for seed in range(_DEMO_SCENES)]
        for seed, path in enumerate(paths):
            cv2.imwrite(str(path), make_scene(seed).image)
        yield paths, "demo scenes"


def _counting_rounds(progress: Progress) -> Progress:
    """`progress`, with the noun of the steps that are counted."""

    def count(what: str, done: int, total: int) -> None:
        progress(f"{what}: round" if total else what, done, total)

    return count
