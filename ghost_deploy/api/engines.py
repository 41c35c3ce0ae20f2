"""TensorRT engines in a bundle that is being written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.runtimes.tensorrt.fingerprint import Gpu
    from ghost_deploy.runtimes.tensorrt.job import EngineRequest

EngineLog: TypeAlias = Callable[[str, str], None]
"""Called with the severity of a line of TensorRT's log, e.g. `warning`, and the line."""


def add_engine(
    writer: BundleWriter,
    bundle: Bundle,
    request: EngineRequest,
    *,
    device: str = "cuda",
    self_check: bool = True,
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
        progress: called at each step.
        log: called with each line of TensorRT's log.

    Returns:
        The draft with the engine and its verdict, unsaved.

    Raises:
        UsageError, BundleError, ExportError, UnavailableError: as `build`.
    """
    from ghost_deploy.runtimes.tensorrt import compat
    from ghost_deploy.runtimes.tensorrt.build_progress import BuildProgress
    from ghost_deploy.runtimes.tensorrt.engine_artifact import deposit
    from ghost_deploy.runtimes.tensorrt.engine_builder import build_plan
    from ghost_deploy.runtimes.tensorrt.job import resolve
    from ghost_deploy.runtimes.tensorrt.logger import Log as TrtLog

    api = compat.load()
    job = resolve(bundle, request, api, _gpu(device), writer.target)
    follow = BuildProgress(progress)

    def take(severity: str, line: str) -> None:
        follow.take(line)
        if log is not None:
            log(severity, line)

    progress(f"reading {job.source.id}", 0, 0)
    built = build_plan(api, job.order, TrtLog(take), follow)
    draft = deposit(writer, bundle, job, built)
    if not self_check:
        return draft
    progress("self-check", 0, 0)
    return _checked(draft, request, device)


def _checked(draft: Bundle, request: EngineRequest, device: str) -> Bundle:
    """The draft with the verdict on its engine; unchanged if it stores no images."""
    from ghost_deploy.judge.parity.self_check import self_check, with_row

    options = RuntimeOptions(device=device if request.dla is None else f"dla:{request.dla}")
    row = self_check(draft, draft.artifact("tensorrt", request.precision), "trt", options)
    return draft if row is None else with_row(draft, row)


def _gpu(device: str) -> Gpu:
    """The GPU of that name, made the current one of this thread.

    Raises:
        UsageError: not a name of a GPU.
        DeviceError: there is no such GPU, or no driver.
    """
    from ghost_deploy.runtimes.tensorrt import cudart as _cudart

    options = RuntimeOptions(device=device)
    if options.device_kind not in ("cuda", "gpu"):
        raise UsageError(
            "an engine is built on a GPU", got=device, expected="cuda or cuda:N",
            fix="For a DLA core pass --dla N",
        )  # fmt: skip
    return _cudart.describe_gpu(options.device_index)
