"""TensorRT engines in a bundle that is being written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ghost_deploy.api.build_engine import EngineLog, build_engine
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.runtimes.tensorrt.build_job import EngineRequest


def add_engine(
    writer: BundleWriter,
    bundle: Bundle,
    request: EngineRequest,
    *,
    device: str = "cuda",
    self_check: bool = True,
    try_placements: bool = False,
    progress: Progress = silent,
    log: EngineLog | None = None,
) -> Bundle:
    """Build an engine, write it into a writer's folder and run it on the stored images.

    Args:
        writer: of the bundle; the timing cache lies beside its target.
        bundle: its draft, or the bundle that the writer has adopted.
        request: what to build.
        device: `cuda` or `cuda:N`.
        self_check: run the engine on the images stored in the bundle, if there are any.
        try_placements: build INT8 of each placement in the bundle, time them, and keep the
            fastest that passes its self-check.
        progress: called at each step.
        log: called with each line of TensorRT's log.

    Returns:
        The draft with the engine and its verdict, unsaved.

    Raises:
        UsageError, BundleError, ExportError, UnavailableError: as `build`.
    """
    from ghost_deploy.api.placements import build_fastest
    from ghost_deploy.runtimes.tensorrt.engine_artifact import record_engine

    target = writer.target
    if try_placements:
        found = build_fastest(bundle, request, target, device=device, progress=progress, log=log)
    else:
        found = [build_engine(bundle, request, target, device, progress, log)]
    for job, built in found:
        writer.forget(f"tensorrt-{request.precision}")
        draft = record_engine(writer, bundle, job, built)
        if not self_check:
            break
        progress("self-check", 0, 0)
        draft, passed = _checked(draft, request, device)
        if passed:
            break
    return draft


def _checked(draft: Bundle, request: EngineRequest, device: str) -> tuple[Bundle, bool]:
    """The draft with the verdict on its engine, and whether that passed; unchanged, and passed, if
    the bundle stores no images."""
    from ghost_deploy.judge.parity.self_check import self_check, with_row

    options = RuntimeOptions(device=device if request.dla is None else f"dla:{request.dla}")
    row = self_check(draft, draft.artifact("tensorrt", request.precision), "trt", options)
    return (draft, True) if row is None else (with_row(draft, row), row.status != "failed")
