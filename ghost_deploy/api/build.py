"""Build a TensorRT engine of a bundle, on the device that will run it: neither torch nor onnx."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from ghost_deploy.api.common import AnyPath, Progress
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import GateError, UsageError
from ghost_deploy.runtimes import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.build import Hardware
    from ghost_deploy.core.evidence.parity import ParityRow
    from ghost_deploy.runtimes.tensorrt.engine_builder import Built
    from ghost_deploy.runtimes.tensorrt.fingerprint import Gpu
    from ghost_deploy.runtimes.tensorrt.job import EngineRequest, Job

__all__ = ["Log", "build", "make_engine", "put_engine"]

Log: TypeAlias = Callable[[str, str], None]
"""Told a severity, e.g. `warning`, and a line."""


def build(
    bundle: AnyPath | Bundle,
    precision: str = "fp16",
    *,
    strongly_typed: bool = False,
    workspace_mib: int | None = None,
    opt_level: int | None = None,
    dla: int | None = None,
    hardware: Hardware = "",
    version_compatible: bool = False,
    int8_cache: AnyPath | None = None,
    calibrator: Literal["entropy", "minmax"] = "entropy",
    device: str = "cuda",
    self_check: bool = True,
    progress: Progress | None = None,
    log: Log | None = None,
) -> Bundle:
    """Add an engine to a bundle and check it against the reference that the bundle carries.

    Args:
        bundle: its folder, or what `export` returned; it needs an ONNX artifact.
        precision: `fp32`, `fp16` or `int8`. INT8 is built from the artifact with Q/DQ nodes, or,
            up to TensorRT 10, from the fp32 one and a calibration cache.
        strongly_typed: let the types in the graph decide (from TensorRT 10; on 11 always so).
        workspace_mib: scratch memory for kernels, MiB; a share of what is free when None.
        opt_level: how long the builder searches, 0 to 5, from TensorRT 8.6.
        dla: the DLA core; what it cannot take falls back to the GPU and is listed.
        hardware: `ampere+` or `same-compute-capability`: other GPUs that shall run it, at some
            cost in speed.
        version_compatible: newer versions of the same major TensorRT shall run it.
        int8_cache: a calibration cache, instead of the Q/DQ nodes.
        calibrator: which calibrator reads it; a DLA needs `entropy`.
        device: `cuda` or `cuda:N`.
        self_check: run the engine on the pictures stored in the bundle.
        progress: told what is being done.
        log: told what TensorRT logs: severity and line.

    Returns:
        The bundle, saved, with the engine, its record and its verdict.

    Raises:
        GateError: the engine is further from the checkpoint than its precision allows. It is in
            the bundle nevertheless, with that verdict, and `load` refuses it.
        UsageError, BundleError: the bundle lacks what the precision needs, or is damaged.
        ExportError: TensorRT failed; nothing was written, and the message says what to lower.
        UnavailableError: no TensorRT, no GPU, or a version that lacks what was asked for.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.read(bundle)
    from ghost_deploy.runtimes.tensorrt.job import EngineRequest

    request = EngineRequest(
        precision=precision,
        strongly_typed=strongly_typed,
        workspace_mib=workspace_mib,
        opt_level=opt_level,
        dla=dla,
        hardware=hardware,
        version_compatible=version_compatible,
        int8_cache=None if int8_cache is None else Path(int8_cache),
        calibrator=calibrator,
    )
    made = make_engine(opened, request, device=device, progress=progress, log=log)
    with BundleWriter(opened.path, overwrite=True) as writer:
        writer.adopt(opened, without=(f"tensorrt-{precision}",))
        draft, row = put_engine(
            writer, opened, made, device=device if self_check else "", progress=progress
        )
        draft.save()
        built = writer.finish()
    if row is not None and row.status == "failed":
        raise GateError(
            f"{row.artifact} was written, but it failed its self-check",
            got="; ".join(row.reasons),
            fix="Build another precision, e.g. --fp32, and compare: ghost-deploy build --help",
        )
    return built


def make_engine(
    bundle: Bundle,
    request: EngineRequest,
    *,
    device: str = "cuda",
    beside: Path | None = None,
    progress: Progress | None = None,
    log: Log | None = None,
) -> tuple[Job, Built]:
    """Build one engine in memory; the bundle is not touched.

    Args:
        bundle, device, progress, log: as in `build`.
        request: what to build.
        beside: what the timing cache lies beside; the bundle when None.

    Raises:
        ExportError, UsageError, BundleError, UnavailableError: as `build`.
    """
    from ghost_deploy.runtimes.tensorrt import compat
    from ghost_deploy.runtimes.tensorrt.build_progress import BuildProgress
    from ghost_deploy.runtimes.tensorrt.engine_builder import build_plan
    from ghost_deploy.runtimes.tensorrt.job import resolve
    from ghost_deploy.runtimes.tensorrt.logger import Log as TrtLog

    tell = progress or _silent
    api = compat.load()
    job = resolve(bundle, request, api, _gpu(device), beside)
    follow = BuildProgress(tell)

    def take(severity: str, line: str) -> None:
        follow.take(line)
        if log is not None:
            log(severity, line)

    tell(f"reading {job.source.id}", 0, 0)
    return job, build_plan(api, job.order, TrtLog(take), follow)


def put_engine(
    writer: BundleWriter,
    bundle: Bundle,
    made: tuple[Job, Built],
    *,
    device: str = "cuda",
    progress: Progress | None = None,
) -> tuple[Bundle, ParityRow | None]:
    """Write an engine into a writer's folder and run it on the stored pictures.

    Args:
        writer: has the other artifacts of the bundle.
        bundle: what the engine was built from.
        made: of `make_engine`.
        device: to run it on; an empty text leaves the self-check out.
        progress: told what is being done.

    Returns:
        The draft with the engine, unsaved, and its verdict: None without a self-check or without
        a reference in the bundle.
    """
    from ghost_deploy.judge.parity.self_check import self_check, with_row
    from ghost_deploy.runtimes.tensorrt.engine_artifact import deposit

    job, built = made
    draft = deposit(writer, bundle, job, built)
    if not device:
        return draft, None
    (progress or _silent)("self-check", 0, 0)
    dla = job.request.dla
    options = RuntimeOptions(device=device if dla is None else f"dla:{dla}")
    row = self_check(draft, draft.artifact("tensorrt", job.request.precision), "trt", options)
    return (draft, None) if row is None else (with_row(draft, row), row)


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


def _silent(what: str, done: int, total: int) -> None:
    """No progress was asked for."""
