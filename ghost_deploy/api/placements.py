"""INT8 engines of several placements, timed on the device that will run them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import ExportError, UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file

if TYPE_CHECKING:
    from ghost_deploy.api.build_engine import EngineLog
    from ghost_deploy.runtimes.tensorrt.build_job import BuildJob, EngineRequest
    from ghost_deploy.runtimes.tensorrt.engine_builder import BuiltEngine

_ROUNDS = 10
_RUNS = 30
"""Each engine is run so often on the device in each round; rounds alternate between engines."""


@dataclass(frozen=True)
class _Timed:
    job: BuildJob
    built: BuiltEngine
    seconds: float
    ms: float = 0.0

    @property
    def name(self) -> str:
        return self.job.source.form


def build_fastest(
    bundle: Bundle,
    request: EngineRequest,
    target: Path,
    *,
    device: str,
    progress: Progress = silent,
    log: EngineLog | None = None,
) -> list[tuple[BuildJob, BuiltEngine]]:
    """Build an engine of each placement in the bundle and time them on the device, alternately.

    Args:
        bundle: with the candidates that `calibrate` prepared.
        request: for INT8 by Q/DQ nodes.
        target: the timing cache lies beside it.
        device: `cuda` or `cuda:N`.
        progress: called at each step.
        log: called with each line of TensorRT's log.

    Returns:
        The engines, fastest first, each with notes of what all took.

    Raises:
        UsageError: the bundle has no other placement, or INT8 comes by a calibration cache.
        ExportError: none could be built.
    """
    from ghost_deploy.api.build_engine import build_engine
    from ghost_deploy.runtimes.tensorrt.build_job import placements_of

    names = placements_of(bundle)
    if request.precision != "int8" or request.int8_cache or request.dla is not None or not names:
        raise UsageError(
            "there are no placements to try",
            got=f"{request.precision}, {len(names)} other placements in the bundle",
            expected="INT8 by Q/DQ nodes and a bundle whose calibration prepared others",
            fix="Leave out --try-placements, or calibrate again: ghost-deploy calibrate BUNDLE "
            "--calib FOLDER",
        )
    timed, problems = list[_Timed](), list[str]()
    wanted = ["", *names]
    for index, name in enumerate(wanted):
        progress(f"placement {name or 'default'}, {index + 1} of {len(wanted)}", 0, 0)
        start = time.monotonic()
        try:
            made = build_engine(
                bundle, replace(request, placement=name), target, device, progress, log
            )
        except (ExportError, UsageError) as error:
            problems.append(f"placement {name or 'default'} was not built: {error.what}")
            continue
        timed.append(_Timed(*made, time.monotonic() - start))
    if not timed:
        raise ExportError(
            "no placement could be built", got="; ".join(problems), fix="Build --fp16"
        )
    progress("timing on the device", 0, 0)
    return _ranked(_measure(timed, bundle, device), problems)


def _measure(timed: Sequence[_Timed], bundle: Bundle, device: str) -> list[_Timed]:
    """The engines with the median time of a run on the device, without copies."""
    from ghost_deploy.runtimes.tensorrt.engine_artifact import write_engine

    options = RuntimeOptions(device=device)
    with scratch_folder() as scratch, ExitStack() as opened:
        runtimes: list[Any] = []  # `device_ms` is TensorRT's alone
        for index, each in enumerate(timed):
            folder = scratch / str(index)
            folder.mkdir()
            plan, *_ = write_engine(folder, bundle.spec, each.job, each.built)
            runtimes.append(opened.enter_context(open_file("trt", plan, options)))
        rounds = [[runtime.device_ms(_RUNS) for runtime in runtimes] for _ in range(_ROUNDS + 1)]
    return [
        replace(each, ms=statistics.median(ms for row in rounds[1:] for ms in row[index]))
        for index, each in enumerate(timed)
    ]


def _ranked(timed: Sequence[_Timed], problems: Sequence[str]) -> list[tuple[BuildJob, BuiltEngine]]:
    ranked = sorted(timed, key=lambda each: each.ms)
    times = ", ".join(f"{each.name} {each.ms:.3f} ms" for each in ranked)
    all_s = sum(each.seconds for each in timed)
    note = (
        f"placements timed on the device: {times}; building {len(timed)} engines took "
        f"{all_s:.0f} s, {all_s / timed[0].seconds:.1f} times as long as one"
    )
    return [
        (replace(each.job, notes=(*each.job.notes, note, *problems)), each.built) for each in ranked
    ]
