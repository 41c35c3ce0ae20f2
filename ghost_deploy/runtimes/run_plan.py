"""Which artifact of a bundle runs on which runtime in which precision, and why one does not.

The only place that decides this: loading, parity, accuracy and benchmarks run what it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ghost_deploy.core.bundle import NMS_FORM, Artifact, Bundle
from ghost_deploy.core.errors import BundleError, DeviceError, MissingExtraError, UsageError
from ghost_deploy.core.lookup import unknown_name
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.int8_forms import target_here
from ghost_deploy.runtimes.table import RUNTIMES, RuntimeRow, runtime_row

_PREFERENCE = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class PlannedRun:
    """An artifact, the runtime that opens it and the precision of the run.

    Attributes:
        artifact: of the bundle.
        row: the runtime.
        precision: of the run, e.g. `bf16` for an fp32 artifact.
        named: the user named this precision, or this runtime and the precision is the artifact's
            own. A named run is never skipped: if it is not possible here, that is an error. Where
            only a precision was named, runtimes that are not installed are not meant.
        foreign: an int8 graph built for another runtime, or an RKNN file for another board: its
            accuracy here counts, its speed does not.
    """

    artifact: Artifact
    row: RuntimeRow
    precision: str
    named: bool = False
    foreign: bool = False

    @property
    def label(self) -> str:
        """Short name, e.g. `openvino-fp32 on openvino in bf16`."""
        tail = "" if self.precision == self.artifact.precision else f" in {self.precision}"
        tail += " (accuracy only)" if self.foreign else ""
        return f"{self.artifact.id} on {self.row.name}{tail}"


def plan_runs(
    bundle: Bundle,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
) -> list[PlannedRun]:
    """List every way in which the runtimes table can run the artifacts of a bundle.

    Graphs with TensorRT's NMS plugin inside are left out: engines are built from them.

    Args:
        bundle: whose artifacts.
        runtimes: names from the runtimes table; default: all of this machine.
        precisions: of the runs; default: all.

    Returns:
        The runs in the order of the bundle, for each artifact in the order of the runtimes; may
        be empty.

    Raises:
        UsageError: unknown runtime or precision.
    """
    local = [name for name, row in RUNTIMES.items() if not row.remote]
    rows = [runtime_row(name) for name in dict.fromkeys(local if runtimes is None else runtimes)]
    check_precisions(precisions)
    return [
        PlannedRun(
            artifact,
            row,
            precision,
            named=(precisions is not None and (runtimes is not None or row.installed))
            or (runtimes is not None and precision == artifact.precision),
            foreign=not row.remote and artifact.kernels not in ("", *row.forms),
        )
        for artifact in bundle.artifacts
        for row in rows
        for precision in runs_of(artifact, row)
        if precisions is None or precision in precisions
    ]


def require_runs(
    bundle: Bundle,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
) -> list[PlannedRun]:
    """`plan_runs`, at least one.

    Raises:
        UsageError: unknown runtime or precision.
        BundleError: the bundle has no matching artifact; the message lists its artifacts.
    """
    runs = plan_runs(bundle, runtimes, precisions)
    if not runs:
        raise _nothing_to_run(bundle, runtimes or (), precisions or ())
    return runs


def require_each_runtime(
    bundle: Bundle, runs: Sequence[PlannedRun], runtimes: Sequence[str] | None
) -> None:
    """Require that each runtime that was named runs something: none is left out in silence.

    Raises:
        UsageError: one has no artifact, or none in the precisions that were named.
    """
    there = {run.row.name for run in runs}
    missing = [name for name in dict.fromkeys(runtimes or ()) if name not in there]
    if missing:
        raise UsageError(
            f"{bundle.path} has no file for the runtime {missing[0]}, or none in the precision "
            "that is asked for",
            got=", ".join(artifact.id for artifact in bundle.artifacts) or "no artifact",
            expected=f"one for each of {', '.join(runtimes or ())}",
            fix=f"Leave --runtime {missing[0]} out, or export for it",
        )


def check_precisions(names: Sequence[str] | None) -> None:
    """Require that a runtime of the table can run in each precision.

    Raises:
        UsageError: unknown precision.
    """
    known = {run for row in RUNTIMES.values() for runs in row.precisions.values() for run in runs}
    for name in names or ():
        if name not in known:
            raise unknown_name(f"there is no precision {name!r}", name, sorted(known))


def runs_of(artifact: Artifact, row: RuntimeRow) -> tuple[str, ...]:
    """The precisions in which a runtime can run an artifact, default first; none if it cannot."""
    if artifact.form == NMS_FORM:
        return ()
    if row.remote:
        return (artifact.precision,)
    if artifact.format != row.format:
        return ()
    return row.precisions.get(artifact.precision, ())


def unopened(bundle: Bundle) -> list[tuple[Artifact, str]]:
    """The artifacts that no runtime of this version opens, with the reason."""
    formats = {row.format for row in RUNTIMES.values()}
    return [
        (artifact, f"no runtime of this version opens {artifact.format}")
        for artifact in bundle.artifacts
        if artifact.format not in formats
    ]


def choose(
    bundle: Bundle,
    *,
    runtime: str = "auto",
    precision: str | None = None,
    options: RuntimeOptions | None = None,
    failed: Callable[[PlannedRun], bool] = lambda _: False,
) -> PlannedRun:
    """Choose the artifact of `bundle` to run, and the runtime that opens it.

    Args:
        bundle: whose artifacts are considered.
        runtime: a key of `RUNTIMES`, or `auto`: the first one that is installed, supports the
            device and has an artifact in the precision.
        precision: precision of the run; default: `options.precision`. If neither names one, fp32
            is preferred to fp16 and int8: it computes what the checkpoint does, and fp16 is not
            faster on most CPUs.
        options: the device, and whether a fallback is allowed.
        failed: whether a run failed a verdict; `auto` takes another runtime of the same precision
            then, if there is one that did not.

    Raises:
        UsageError: unknown runtime or precision.
        BundleError: the bundle has no matching artifact; the message lists its artifacts.
        DeviceError: no runtime for its artifacts supports the device.
        MissingExtraError: the vendor package for the artifact is not installed.
    """
    options = options or RuntimeOptions()
    precision = precision or options.precision
    check_precisions([precision] if precision else None)
    fitting = [
        run
        for run in plan_runs(bundle, None if runtime == "auto" else [runtime])
        if run.precision == (precision or runs_of(run.artifact, run.row)[0])
    ]
    runs = [run for run in fitting if options.any_form or not run.foreign]
    if not runs:
        named = () if runtime == "auto" else (runtime,)
        raise _nothing_to_run(bundle, named, (precision,) if precision else (), fitting)
    # A runtime chosen by name checks the device itself; its error names the command that helps.
    any_device = runtime != "auto" or options.allow_fallback
    possible = _possible(bundle, runs, None if any_device else options)
    if runtime == "auto":
        equal = (run for run in possible if run.precision == possible[0].precision)
        return next((run for run in equal if not failed(run)), possible[0])
    return possible[0]


def _nothing_to_run(
    bundle: Bundle,
    runtimes: Sequence[str],
    precisions: Sequence[str],
    foreign: Sequence[PlannedRun] = (),
) -> BundleError:
    asked = " ".join(filter(None, (" or ".join(precisions), " or ".join(runtimes))))
    return BundleError(
        f"{bundle.path} has nothing to run{f' as {asked}' if asked else ''}",
        got=", ".join(artifact.id for artifact in bundle.artifacts) or "no artifact",
        fix=_fix_nothing(bundle, precisions, foreign),
    )


def _fix_nothing(bundle: Bundle, precisions: Sequence[str], foreign: Sequence[PlannedRun]) -> str:
    """What to do where a bundle has nothing to run.

    Args:
        bundle: the bundle.
        precisions: that were asked for.
        foreign: int8 files in forms for other kernels than those of this machine, or RKNN files
            for other boards.
    """
    has_int8 = any(artifact.precision == "int8" for artifact in bundle.artifacts)
    if "int8" in precisions and not has_int8:
        return (
            f"Make int8 files: ghost-deploy calibrate {bundle.path} --calib FOLDER; "
            "or choose another --precision"
        )
    if not foreign:
        return "Choose another --runtime or --precision, or export what is missing"
    forms = ", ".join(sorted({run.artifact.form for run in foreign}))
    if all(run.artifact.format == "rknn" for run in foreign):
        return (
            f"Its RKNN files are for boards with the NPU of {forms}. Run it on such a board, "
            "export it for this one (--rknn --for SOC), or choose another --runtime"
        )
    return (
        f"Its int8 files are for other processors or runtimes ({forms}). Make one for this "
        f"processor, on any machine: ghost-deploy calibrate {bundle.path} --calib FOLDER --for "
        f"{target_here()}; or choose another --precision"
    )


def _possible(
    bundle: Bundle, runs: list[PlannedRun], options: RuntimeOptions | None
) -> list[PlannedRun]:
    """The runs that are possible on the device of `options`, any if None, preferred ones first."""
    fitting = [run for run in runs if options is None or options.device_kind in run.row.devices]
    if options and not fitting:
        raise DeviceError(
            f"nothing that runs the artifacts of {bundle.path} knows {options.device!r}",
            expected=", ".join(sorted({name for run in runs for name in run.row.devices})),
            fix="Choose another --device, or export for it",
        )
    order = list(RUNTIMES)
    fitting.sort(
        key=lambda run: (_PREFERENCE.index(run.artifact.precision), order.index(run.row.name))
    )
    if possible := [run for run in fitting if run.row.installed]:
        return possible
    raise MissingExtraError.for_extra(fitting[0].row.package, fitting[0].row.extra)
