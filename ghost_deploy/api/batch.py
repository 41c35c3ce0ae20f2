"""Detect objects in an archive: many images and videos, on this machine or a cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ghost_deploy.api.common import AnyPath, Note, log_note, require
from ghost_deploy.api.model_settings import ModelSettings
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.class_names import Classes
from ghost_deploy.core.errors import UsageError

if TYPE_CHECKING:
    from ghost_deploy.batch.drive import BatchRequest
    from ghost_deploy.batch.part_worker import FrameChoice
    from ghost_deploy.batch.row_detector import OpenedModel
    from ghost_deploy.batch.run_manifest import RunManifest
    from ghost_deploy.batch.run_progress import BatchProgress, ShowProgress
    from ghost_deploy.batch.run_record import BatchReport

Engine: TypeAlias = Literal["auto", "local", "ray"]
"""`local` works on this machine, `ray` on a cluster; `auto` chooses."""


def run_batch(
    model: AnyPath | Bundle,
    inputs: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    *,
    engine: Engine = "auto",
    address: str | None = None,
    workers: int | None = None,
    runtime: str = "auto",
    precision: str | None = None,
    device: str = "cpu",
    threads: int = 1,
    batch: int = 1,
    conf: float | None = None,
    iou: float | None = None,
    max_det: int | None = None,
    agnostic: bool | None = None,
    classes: Classes = (),
    class_conf: Mapping[str, float] | None = None,
    slices: int | None = None,
    overlap: float = 0.2,
    every: int = 1,
    every_s: float | None = None,
    path_column: str | None = None,
    part_rows: int | None = None,
    max_pixels: int | None = None,
    retry_errors: bool = False,
    redo_changed: bool = False,
    allow_fallback: bool = False,
    allow_failed_parity: bool = False,
    check: bool = True,
    progress: Callable[[BatchProgress], None] | None = None,
    note: Note = log_note,
) -> BatchReport:
    """Detect objects in many images and videos, and write the results as Parquet.

    Each image and each frame that is taken becomes one row, once: the same call again continues
    with what has no row yet, also after the process, a worker or a machine was killed. A source
    that cannot be read is a row with its error. docs/scale.md says how to plan a run.

    Args:
        model: a bundle or a model file, as in `load`.
        inputs: files, folders with all below them, patterns, lists of paths (`.txt`, `@list`),
            Parquet files with a column of paths, videos; on this machine or as `s3://`, `gs://` or
            another address that pyarrow or fsspec opens.
        out: a folder of this machine or address for the parts and `_manifest.json`.
        engine: `local` takes processes of this machine, `ray` a cluster; `auto` takes `ray` if a
            cluster is named and there are at least 3000 images, and says what it took.
        address: of a Ray cluster; `local` starts one for this run; where None, Ray takes the one
            that runs on this machine or is named by `RAY_ADDRESS`.
        workers: how many work side by side; by default one for each core, divided by `threads`.
        runtime, precision, device, threads, conf, iou, max_det, agnostic, slices, overlap,
            allow_fallback, allow_failed_parity, check: as in `load`; `threads` are those of a
            worker.
        batch: images that the model runs at once, at most what the graph accepts.
        classes: names or numbers of the classes to keep, before NMS; all when empty.
        class_conf: least score, 0 to 1, of classes by name or number.
        every: take every so many-th frame of videos.
        every_s: take a frame of videos every so many seconds instead.
        path_column: with the paths, of Parquet inputs.
        part_rows: most rows of a part; by default 16 to 1000, from the size of the run. A run that
            is continued keeps that of the first.
        max_pixels: largest image that is read, width times height.
        retry_errors: read sources again whose rows hold an error.
        redo_changed: look at the size and time of every source that has rows, and detect those
            again that have changed; without it some are looked at, and what has changed is said.
        progress: is told how far the run is.
        note: is told in words what happens.

    Returns:
        What was done, and what the output holds.

    Raises:
        UsageError: an input or option is wrong; the output holds rows of another model or other
            settings, or another run writes there.
        StoreError: the disk is full, or a store refuses; what was written is whole.
        MissingExtraError: pyarrow is not installed, or Ray for `ray`.
        GhostDeployError: the model cannot be opened or fails on everything.
        KeyboardInterrupt: what was written is whole, and the manifest names it.
    """
    require("pyarrow", "batch")
    from ghost_deploy.batch.drive import BatchRequest

    path = model.path if isinstance(model, Bundle) else model
    names = [classes] if isinstance(classes, str | int) else classes
    how: dict[str, Any] = {"device": device, "threads": threads, "check": check}
    how |= {"allow_fallback": allow_fallback, "allow_failed_parity": allow_failed_parity}
    how |= {"conf": conf, "iou": iou, "max_det": max_det, "agnostic": agnostic}
    how |= {"classes": tuple(names), "class_conf": dict(class_conf or {})}
    how |= {"slices": slices, "overlap": overlap}
    settings = ModelSettings(os.fspath(path), runtime, precision, **how)
    _check_numbers(every=every, part_rows=part_rows, workers=workers, batch=batch)
    words = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    what: dict[str, Any] = {"engine": engine, "address": address, "threads": threads}
    what |= {"batch": batch, "max_pixels": max_pixels, "part_rows": part_rows}
    what |= {"path_column": path_column, "retry_errors": retry_errors}
    what["redo_changed"] = redo_changed
    request = BatchRequest(
        tuple(os.fspath(word) for word in words),
        os.fspath(out),
        workers or default_workers(threads),
        workers,
        _frames(every, every_s),
        **what,
    )
    return _run(settings, request, progress or (lambda _: None), note)


def _frames(every: int, every_s: float | None) -> FrameChoice:
    from ghost_deploy.batch.part_worker import FrameChoice

    if every_s is not None and not (every_s > 0 and every == 1):
        raise UsageError(
            "every_s is a number of seconds above 0, in place of every",
            got=f"every {every}, every_s {every_s}",
            fix="Give one of both",
        )
    return FrameChoice(every, every_s)


def _run(
    settings: ModelSettings, request: BatchRequest, show: ShowProgress, note: Note
) -> BatchReport:
    from ghost_deploy.batch.drive import drive
    from ghost_deploy.core.pixel_limit import pixel_limit

    with pixel_limit(request.max_pixels):
        opened = settings.open()
        with opened.detector:
            manifest = _manifest(settings, request, opened, note)
            settings = settings.resolved(opened)
        return drive(request, settings, manifest, show, note)


def _manifest(
    settings: ModelSettings, request: BatchRequest, opened: OpenedModel, note: Note
) -> RunManifest:
    """The manifest of a run, of whose model one was opened here first."""
    from ghost_deploy.batch.run_manifest import RunIdentity, RunManifest

    detector = opened.detector
    info, spec = detector.runtime.info, detector.spec
    most = spec.input.batch[1]
    if request.batch > most:
        raise UsageError(
            "the graph does not accept so many images at once",
            got=request.batch,
            expected=f"at most {most}",
            fix="Leave --batch out, or export with --dynamic",
        )
    runs = f"{info.runtime} {info.version} on {info.device} in {info.precision or 'its precision'}"
    note(
        f"{spec.name} on {runs}, threads of a worker: {request.threads or 'as the runtime chooses'}"
    )
    identity = RunIdentity(
        model=opened.sha256,
        thresholds=detector.thresholds,
        classes=detector.classes,
        class_conf={name: float(conf) for name, conf in settings.class_conf.items()},
        slices=settings.slices,
        overlap=settings.overlap,
        every=request.frames.every,
        every_s=request.frames.every_s,
    )
    return RunManifest(
        identity=identity,
        name=spec.name,
        artifact=runs,
        class_names=spec.class_names,
        part_rows=request.part_rows or 0,
    )


def default_workers(threads: int) -> int:
    """How many workers of so many threads this machine has cores for."""
    from ghost_deploy.runtimes.cpu_cores import available_cores

    return max(1, available_cores() // max(1, threads))


def _check_numbers(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} is a whole number from 1", got=value, fix="Give such a one")
