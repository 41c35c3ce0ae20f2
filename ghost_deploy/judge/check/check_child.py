"""A process that checks one model: a request on standard input, the reply on standard output.

What hangs or dies there does not take the process along that asked: `ask_child` starts it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import numpy as np

from ghost_deploy.core.bundle import Artifact, Bundle, BundleDocument
from ghost_deploy.core.errors import GhostDeployError, UnavailableError
from ghost_deploy.core.evidence.parity import ParityRow
from ghost_deploy.core.parent_death import end_with_parent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.bench.worker_main import Failure
from ghost_deploy.judge.parity.self_check import is_judged, self_check
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.opener import open_path, open_planned
from ghost_deploy.runtimes.run_plan import PlannedRun
from ghost_deploy.runtimes.table import runtime_row


class CheckRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What to check.

    Attributes:
        path: of a bundle, or of a single model file, which is run once and compared with nothing.
        bundle: content of the bundle's document, which may not be saved yet; None for a file.
        artifact: id of the artifact; empty for a single file.
        runtime, precision: of the run.
        device, threads, allow_fallback, cache_dir: as in `RuntimeOptions`.
    """

    path: str
    bundle: BundleDocument | None = None
    artifact: str = ""
    runtime: str
    precision: str
    device: str = "cpu"
    threads: int = 0
    allow_fallback: bool = False
    cache_dir: str | None = None


class CheckReply(msgspec.Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        row: the comparison; None where there is nothing to compare with.
        failure: the error in its place.
        died: how the process ended without an answer; empty where it gave one.
        illegal: whether it ended at an instruction that this processor lacks.
    """

    row: ParityRow | None = None
    failure: Failure | None = None
    died: str = ""
    illegal: bool = False

    @property
    def missing(self) -> str:
        """What this machine lacks to run it; empty where it lacks nothing."""
        error = self.failure.error() if self.failure else None
        return str(error) if isinstance(error, UnavailableError) else ""

    @property
    def judged(self) -> bool:
        """Whether the outputs were compared with limits, or none came."""
        return bool(self.died) or is_judged(self.row)


def check(request: CheckRequest) -> CheckReply:
    """Compare one artifact with the outputs that its bundle carries; without any, run it once."""
    options = RuntimeOptions(
        device=request.device,
        precision=request.precision,
        threads=request.threads,
        allow_fallback=request.allow_fallback,
        cache_dir=Path(request.cache_dir) if request.cache_dir else None,
    )
    try:
        return _check(request, options)
    except GhostDeployError as error:
        return CheckReply(failure=Failure.of(error))


def _check(request: CheckRequest, options: RuntimeOptions) -> CheckReply:
    if request.bundle is None:
        _run_once(*open_path(request.path, runtime=request.runtime, options=options))
        return CheckReply()
    bundle = Bundle(Path(request.path), request.bundle)
    artifact: Artifact = next(each for each in bundle.artifacts if each.id == request.artifact)
    row = self_check(bundle, artifact, request.runtime, options, precision=request.precision)
    if row is None:
        run = PlannedRun(artifact, runtime_row(request.runtime), request.precision)
        _run_once(open_planned(bundle, run, options), bundle.spec_of(artifact))
    return CheckReply(row=row)


def _run_once(runtime: Runtime, spec: ModelSpec) -> None:
    """Run a model on a gray image and close it."""
    with Detector(runtime, spec) as detector:
        detector(np.full((*spec.input.size_hw, 3), spec.input.pad_value, np.uint8))


if __name__ == "__main__":
    end_with_parent()
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=CheckRequest)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # vendor libraries print, from C++ too
    with answer:
        answer.write(msgspec.json.encode(check(asked)))
