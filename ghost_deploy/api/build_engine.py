"""Build a TensorRT engine of a bundle on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.progress import Progress
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.runtimes.tensorrt.build_job import BuildJob, EngineRequest
    from ghost_deploy.runtimes.tensorrt.engine_builder import BuiltEngine
    from ghost_deploy.runtimes.tensorrt.fingerprint import GpuInfo


EngineLog: TypeAlias = Callable[[str, str], None]
"""Called with the severity of a line of TensorRT's log, e.g. `warning`, and the line."""


def build_engine(
    bundle: Bundle,
    request: EngineRequest,
    target: Path,
    device: str,
    progress: Progress,
    log: EngineLog | None,
) -> tuple[BuildJob, BuiltEngine]:
    """Build one engine in memory; arguments as in `add_engine`, `target` of its writer."""
    from ghost_deploy.runtimes.tensorrt import compat
    from ghost_deploy.runtimes.tensorrt.build_job import resolve_job
    from ghost_deploy.runtimes.tensorrt.build_progress import BuildProgress
    from ghost_deploy.runtimes.tensorrt.engine_builder import build_plan
    from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog

    api = compat.load()
    job = resolve_job(bundle, request, api, _gpu(device), target)
    follow = BuildProgress(progress)

    def take(severity: str, line: str) -> None:
        follow.read_log_line(line)
        if log is not None:
            log(severity, line)

    progress(f"reading {job.source.id}", 0, 0)
    return job, build_plan(api, job.settings, TensorrtLog(take), follow)


def _gpu(device: str) -> GpuInfo:
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
