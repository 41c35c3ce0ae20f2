"""Opening a planned run as a detector, in the precision that was planned and no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import (
    BackendError,
    DeviceError,
    ShapeError,
    SpecError,
    UsageError,
)
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.stages import lowered
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.opener import open_planned
from ghost_deploy.runtimes.run_plan import PlannedRun, plan_runs, require_each_runtime

BROKEN = (BackendError, ShapeError, SpecError)
"""What a damaged or wrong artifact raises when it is opened, run or decoded."""


def judged_runs(
    bundle: Bundle, runtimes: Sequence[str] | None, precisions: Sequence[str] | None
) -> list[PlannedRun]:
    """`plan_runs`, at least one.

    Args:
        bundle, runtimes, precisions: see `plan_runs`.

    Raises:
        UsageError: unknown runtime or precision, nothing is left, or nothing of a runtime that is
            named.
    """
    runs = plan_runs(bundle, runtimes, precisions)
    if not runs:
        raise UsageError(
            f"nothing in {bundle.path} can be compared",
            got=", ".join(artifact.id for artifact in bundle.artifacts) or "no artifact",
            expected=f"runtimes {', '.join(runtimes) if runtimes else 'any'}; precisions "
            f"{', '.join(precisions) if precisions else 'any'}",
            fix="Name other runtimes or precisions, or export more of them",
        )
    require_each_runtime(bundle, runs, runtimes)
    return runs


def open_detector(bundle: Bundle, run: PlannedRun, options: RuntimeOptions) -> Detector:
    """Open the artifact, with thresholds below those of the spec, see `lowered`.

    Args:
        bundle: that holds the artifact.
        run: what to open.
        options: device and threads.

    Raises:
        BundleError: a file of the artifact is missing or was changed.
        UnavailableError: this machine lacks the package, the device or the precision.
        BackendError: the backend cannot load the file.
        ShapeError: the file does not fit the description in the bundle.
        SpecError: the bundle and the file describe different models.
    """
    # Several models take turns on the same cores; with `latency` the threads of each would spin.
    runtime = open_planned(bundle, run, replace(options, hint="throughput"))
    try:
        if runtime.info.precision != run.precision:
            raise DeviceError(
                f"{run.label} would not run in that precision",
                got=runtime.info.precision,
                expected=run.precision,
                fix="Compare it in the precision that this machine has",
            )
        spec = bundle.spec_of(run.artifact)
        return Detector(runtime, spec, lowered(spec.thresholds))
    except BaseException:
        runtime.close()
        raise
