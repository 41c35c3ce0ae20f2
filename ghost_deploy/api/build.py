"""Build a TensorRT engine of a bundle, on the device that will run it: neither torch nor onnx."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ghost_deploy.api.build_engine import EngineLog
from ghost_deploy.api.common import AnyPath, open_bundle, refuse_replaced
from ghost_deploy.api.engines import add_engine
from ghost_deploy.api.gates import require_engine
from ghost_deploy.api.sign import is_signed, say_what_became
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.progress import Progress, silent

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.build import Hardware


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
    try_placements: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    log: EngineLog | None = None,
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
        hardware: `ampere+` or `same-compute-capability`: other GPUs that can run it, at some
            cost in speed.
        version_compatible: newer versions of the same major TensorRT can run it.
        int8_cache: a calibration cache, instead of the Q/DQ nodes.
        calibrator: which calibrator reads it; a DLA needs `entropy`.
        device: `cuda` or `cuda:N`.
        self_check: run the engine on the images stored in the bundle.
        try_placements: INT8 by Q/DQ nodes alone: build an engine of each placement that
            `calibrate` prepared, time them on this device and keep the fastest that passes.
        overwrite: replace an engine of that precision.
        progress: called at each step.
        log: called with each line of TensorRT's log: severity and text.

    Returns:
        The bundle, saved, with the engine, its record and its verdict.

    Raises:
        GateError: the engine is further from the checkpoint than its precision allows. The error
            carries the bundle, which holds it with that verdict, and `load` refuses it.
        UsageError, BundleError: the bundle lacks what the precision needs, or is damaged.
        ExportError: TensorRT failed; nothing was written, and the message says what to lower.
        UnavailableError: no TensorRT, no GPU, or a version that lacks what was asked for.
    """
    from ghost_deploy.runtimes.tensorrt.build_job import EngineRequest

    opened = open_bundle(bundle)
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
    was_signed = is_signed(opened.path)
    refuse_replaced(opened, [f"tensorrt-{precision}"], "build", overwrite=overwrite)
    with BundleWriter(opened.path, overwrite=True) as writer:
        writer.adopt(opened, without=(f"tensorrt-{precision}",))
        draft = add_engine(
            writer, opened, request, device=device, self_check=self_check,
            try_placements=try_placements,
            progress=progress or silent, log=log,
        )  # fmt: skip
        draft.save()
        built = writer.finish()
    say_what_became(built, was_signed)
    require_engine(built, precision)
    return built
