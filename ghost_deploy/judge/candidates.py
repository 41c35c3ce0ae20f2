"""Which artifacts of a bundle are run on which runtime in which precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ghost_deploy.core.bundle import NMS_FORM, Artifact, Bundle
from ghost_deploy.core.errors import DeviceError, UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.gate import gate_for
from ghost_deploy.judge.parity.stages import lowered
from ghost_deploy.runtimes import RUNTIMES, Runtime, RuntimeOptions, open_file, runtime_row
from ghost_deploy.runtimes.opener import check_description

__all__ = ["Candidate", "candidates", "open_candidate"]


@dataclass(frozen=True)
class Candidate:
    """An artifact, the runtime that opens it and the precision that it is run in.

    `named` says that the user asked for this precision, or for this runtime and it is the
    artifact's own precision: what was asked for by name is never skipped. `foreign` says that it
    is an int8 graph made for another runtime: its accuracy here is judged, its speed is not.
    """

    artifact: Artifact
    runtime: str
    precision: str
    named: bool
    foreign: bool = False

    @property
    def label(self) -> str:
        """Short name, e.g. `openvino-fp32 on openvino in bf16`."""
        tail = "" if self.precision == self.artifact.precision else f" in {self.precision}"
        tail += " (accuracy only)" if self.foreign else ""
        return f"{self.artifact.id} on {self.runtime}{tail}"


def candidates(
    bundle: Bundle, runtimes: Sequence[str] | None, precisions: Sequence[str] | None
) -> list[Candidate]:
    """Everything in the bundle that the runtimes table can run, in the order of the bundle.

    Args:
        bundle: whose artifacts.
        runtimes: names from the runtimes table; all when None.
        precisions: that the models are run in; all when None.

    Raises:
        UsageError: an unknown name, or nothing is left.
    """
    rows = [runtime_row(name) for name in (RUNTIMES if runtimes is None else runtimes)]
    wanted = None if precisions is None else {gate_for(name).precision for name in precisions}
    found = []
    for artifact in bundle.artifacts:
        for row in rows:
            if artifact.format != row.format or artifact.form == NMS_FORM:
                continue
            for precision in row.precisions.get(artifact.precision, ()):
                if wanted is None or precision in wanted:
                    own = runtimes is not None and precision == artifact.precision
                    named = wanted is not None or own
                    foreign = artifact.form not in ("", *row.forms)
                    found.append(Candidate(artifact, row.name, precision, named, foreign))
    if not found:
        raise UsageError(
            f"nothing in {bundle.path} can be compared",
            got=", ".join(artifact.id for artifact in bundle.artifacts) or "no artifact",
            expected=f"runtimes {', '.join(row.name for row in rows)}; precisions "
            f"{', '.join(sorted(wanted)) if wanted else 'any'}",
            fix="Name other runtimes or precisions, or export more of them",
        )
    return found


def open_candidate(bundle: Bundle, candidate: Candidate, options: RuntimeOptions) -> Detector:
    """Open the artifact, with thresholds that reach below the spec's as `lowered` says.

    Raises:
        BundleError: the artifact's files are not those that were written.
        UnavailableError: this machine lacks the package, the device or the precision.
        BackendError: the backend refuses the file.
        ShapeError: the file does not fit the bundle's description.
        SpecError: the description inside the file is not the bundle's.
    """
    path = bundle.verified_path(candidate.artifact)
    # Several models take turns on the same cores; with `latency` each would spin for them all.
    asked = replace(
        options, precision=candidate.precision, hint="throughput", any_form=candidate.foreign
    )
    runtime = open_file(candidate.runtime, path, asked)
    try:
        _check(runtime, candidate, bundle.spec)
        return Detector(runtime, bundle.spec, lowered(bundle.spec.thresholds))
    except BaseException:
        runtime.close()
        raise


def _check(runtime: Runtime, candidate: Candidate, spec: ModelSpec) -> None:
    if runtime.info.precision != candidate.precision:
        raise DeviceError(
            f"{candidate.label} would not run in that precision",
            got=runtime.info.precision,
            expected=candidate.precision,
            fix="Compare it in the precision that this machine has",
        )
    check_description(runtime, spec, candidate.artifact.path)
