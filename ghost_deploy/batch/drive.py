"""A run from its inputs to its report: what is written is left out, an engine does the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from ghost_deploy.batch.changed_sources import find_changed, forget, unfinished_changed
from ghost_deploy.batch.engine_run import EngineRun
from ghost_deploy.batch.file_access import FileAccess
from ghost_deploy.batch.found_sources import FoundSources, find_sources
from ghost_deploy.batch.local_engine import run_local
from ghost_deploy.batch.output_store import OutputStore, WrittenRows
from ghost_deploy.batch.part_worker import FrameChoice, WorkerSetup
from ghost_deploy.batch.row_detector import ModelOpener
from ghost_deploy.batch.run_manifest import RunManifest
from ghost_deploy.batch.run_progress import ProgressMeter, ShowProgress
from ghost_deploy.batch.run_record import BatchReport
from ghost_deploy.batch.work_plan import WorkPlan, rows_of_a_part
from ghost_deploy.core.errors import StoreError

Engine: TypeAlias = Literal["auto", "local", "ray"]
Note: TypeAlias = Callable[[str], None]

_HOW_AGAIN = "their rows stay as they are; --redo-changed detects them again"

FEW_SOURCES = 3000
"""Below so many images and videos a cluster takes longer to start than it saves."""


@dataclass(frozen=True)
class BatchRequest:
    """What a run is asked for; attributes as the arguments of `ghost_deploy.run_batch`.

    Attributes:
        workers: of this machine, by default.
        most_workers: that the user named.
    """

    inputs: tuple[str, ...]
    out: str
    workers: int
    most_workers: int | None = None
    frames: FrameChoice = field(default_factory=FrameChoice)
    engine: Engine = "auto"
    address: str | None = None
    threads: int = 1
    batch: int = 1
    max_pixels: int | None = None
    part_rows: int | None = None
    path_column: str | None = None
    retry_errors: bool = False
    redo_changed: bool = False


def drive(
    request: BatchRequest,
    model: ModelOpener,
    manifest: RunManifest,
    show: ShowProgress,
    note: Note,
) -> BatchReport:
    """Carry out a run.

    Args:
        request: what is asked for.
        model: opens the model in each worker.
        manifest: of the run; the size of parts is filled in here.
        show: is told of the progress.
        note: is told in words what happens.

    Raises:
        GhostDeployError: see `ghost_deploy.run_batch`.
        KeyboardInterrupt: the run was interrupted; what is written is whole.
    """
    began_s = time.monotonic()
    access = FileAccess.of(request.inputs)
    found = find_sources(request.inputs, access, request.path_column, note)
    if found.duplicates:
        what = "source is" if found.duplicates == 1 else "sources are"
        note(f"{found.duplicates} {what} named more than once; each is done once")
    _require_engine(request, len(found.images) + len(found.videos))
    count = (len(found.images), len(found.videos))
    rows = request.part_rows or rows_of_a_part(*count, request.workers)
    manifest = msgspec.structs.replace(manifest, part_rows=rows)
    with OutputStore(request.out, manifest, note) as store:
        written, changed = _without_changed(request, store, found, access, note)
        plan = WorkPlan(found, written, store.manifest.part_rows, request.retry_errors)
        left = plan.left()
        if store.is_continued:
            note(f"{plan.sources - left} of {plan.sources} sources have their rows already")
            if request.part_rows not in (None, plan.part_rows):
                note(f"parts keep at most {plan.part_rows} rows, as the run had that began here")
        meter = ProgressMeter(plan.sources, plan.sources - left, show)
        engine, cluster = _choose_engine(request, left, note), ""
        run = _engine_run(request, model, store, access, plan, meter, note)
        try:
            if left:
                cluster = _run_on(engine, run, request.address)
        except BaseException:
            _save_state(store, plan, note)
            raise
        written = store.written()
        _refuse_twice(written)
        missing = WorkPlan(found, written, plan.part_rows).left()
        store.save(written.records, complete=not missing)
    return BatchReport(
        out=store.parts.out,
        engine=engine,
        cluster=cluster,
        sources=plan.sources,
        duplicates=found.duplicates,
        skipped=plan.sources - left,
        changed=changed,
        total_rows=written.rows,
        total_errors=written.errors,
        parts=len(written.records),
        seconds=round(time.monotonic() - began_s, 3),
        model=manifest.identity.model,
        first_errors=tuple(written.reasons),
        complete=not missing,
        **meter.counted(),
    )


def _without_changed(
    request: BatchRequest,
    store: OutputStore,
    found: FoundSources,
    access: FileAccess,
    note: Note,
) -> tuple[WrittenRows, int]:
    """What is written, and how many of its sources have changed; rows to be redone are removed."""
    written = store.written()
    if not written.records:
        return written, 0
    changed = find_changed(found, written, access, every=request.redo_changed)
    redone = changed if request.redo_changed else unfinished_changed(found, written, access)
    if changed.sources:
        again = "they are detected again" if request.redo_changed else _HOW_AGAIN
        note(f"{changed.described()}; {again}")
    if redone.sources:
        if not request.redo_changed:
            note(f"{min(redone.sources)} changed while it was half done and is detected again")
        forget(redone, store.parts)
        written = store.written()
    return written, len(changed.sources)


def _engine_run(
    request: BatchRequest,
    model: ModelOpener,
    store: OutputStore,
    access: FileAccess,
    plan: WorkPlan,
    meter: ProgressMeter,
    note: Note,
) -> EngineRun:
    setup = WorkerSetup(
        model,
        store.manifest.identity.model,
        store.parts,
        access,
        request.frames,
        store.manifest.part_rows,
        request.batch,
        request.max_pixels,
    )
    return EngineRun(
        setup,
        plan.tasks,
        request.workers,
        request.most_workers,
        request.threads,
        meter,
        note,
    )


def _require_engine(request: BatchRequest, sources: int) -> None:
    """Require that the engine is there, before anything is written."""
    auto = request.engine == "auto" and request.address is not None and sources >= FEW_SOURCES
    if request.engine == "ray" or auto:
        from ghost_deploy.batch.ray_engine import require_ray

        require_ray()


def _choose_engine(request: BatchRequest, left: int, note: Note) -> Literal["local", "ray"]:
    if request.engine != "auto":
        return request.engine
    if request.address is None:
        return "local"
    if left < FEW_SOURCES:
        note(f"engine local: a cluster does not pay for {left} sources (--engine ray takes it)")
        return "local"
    return "ray"


def _run_on(engine: str, run: EngineRun, address: str | None) -> str:
    """Run, and say on which cluster."""
    if engine == "local":
        run_local(run)
        return ""
    from ghost_deploy.batch.ray_engine import run_ray

    return run_ray(run, address)


def _save_state(store: OutputStore, plan: WorkPlan, note: Note) -> None:
    """Say what is written when a run ends early, and keep it in the manifest if that can be."""
    try:
        written = store.written()
        left = WorkPlan(plan.found, written, plan.part_rows).left()
        note(
            f"{plan.sources - left} of {plan.sources} sources have their rows, in "
            f"{_parts(len(written.records))}; run the same command again and it continues"
        )
        store.save(written.records, complete=False)
    except StoreError as error:
        note(f"what was written is whole; {error.what}: run the same command again to continue")


def _parts(count: int) -> str:
    return f"{count} part{'' if count == 1 else 's'}"


def _refuse_twice(written: WrittenRows) -> None:
    """Require that no image has two rows.

    Raises:
        StoreError: one has; two runs with different inputs wrote into a bucket at once.
    """
    import pyarrow.compute as pc

    twice = len(written.images) - (pc.count_distinct(written.images).as_py() or 0)
    if twice:
        raise StoreError(
            f"{twice} images have more than one row",
            got="two runs with different inputs wrote there at the same time",
            fix="Select distinct source and frame when you read, or run again into another folder",
        )
