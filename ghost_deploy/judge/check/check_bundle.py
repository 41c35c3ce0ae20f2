"""Check all artifacts of a bundle on this machine, each in a process of its own, then time them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import cv2
import msgspec

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.core.evidence.check import CheckReport, CheckRow
from ghost_deploy.core.evidence.latency import BenchRow, Settings
from ghost_deploy.core.evidence.run_name import run_name
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.judge.bench.benchmark import run_bench
from ghost_deploy.judge.bench.selection import Selection
from ghost_deploy.judge.bench.snapshot import take_snapshot
from ghost_deploy.judge.bench.statistics import ratio, round_medians
from ghost_deploy.judge.check.ask_child import TIME_LIMIT_S, ask_child
from ghost_deploy.judge.check.checked_runs import checked_runs
from ghost_deploy.judge.check.fastest import TimedRun, fastest
from ghost_deploy.judge.check.verdict_store import StoredVerdict, VerdictStore, verdict_key
from ghost_deploy.judge.parity.stored_reference import StoredReference, read_stored
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import PlannedRun

_STAGE = "run_alone"
_SHORT = Settings(duration_s=2.0, rounds=10, warmup_s=0.2)


def check_bundle(
    bundle: Bundle,
    options: RuntimeOptions,
    store: VerdictStore,
    *,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    timeout_s: float = TIME_LIMIT_S,
    speed: bool = True,
    progress: Progress = silent,
) -> CheckReport:
    """Check and time what a bundle offers on this machine.

    Args:
        bundle: read with its hashes verified.
        options: device and threads.
        store: where the verdicts are kept.
        runtimes, precisions: as in `plan_runs`.
        timeout_s: seconds for one artifact.
        speed: also time the verified ones.
        progress: called for each artifact.

    Raises:
        BundleError: the reference outputs are missing or were changed, or no artifact matches.
        UsageError: unknown runtime or precision, or a runtime of a server.
    """
    stored = read_stored(bundle)
    plans = checked_runs(bundle, runtimes, precisions)
    rows = []
    for number, run in enumerate(plans):
        progress("checking: run", number, len(plans))
        rows.append(_row(bundle, run, options, timeout_s))
    warnings: tuple[str, ...] = ()
    if speed and stored:
        progress("timing", 0, 0)
        rows, warnings = _timed(bundle, rows, stored, options)
    whole = speed and runtimes is None and precisions is None
    for run, row in zip(plans, rows, strict=True):
        _keep(store, verdict_key(bundle, run, options.device), row, whole)
    return CheckReport(
        model=bundle.spec.name,
        images=len(stored.images) if stored else 0,
        rows=tuple(rows),
        machine=take_snapshot(),
        advice=_advice(rows),
        warnings=warnings,
    )


def _keep(store: VerdictStore, key: str, row: CheckRow, whole: bool) -> None:
    """Keep the verdict of a row; its time only where everything else was timed beside it."""
    if row.status not in ("verified", "failed"):
        return
    old = store.get(key)
    p50_ms = row.p50_ms if whole else (old.p50_ms if old else None)
    passed = row.status == "verified"
    verdict = StoredVerdict(passed=passed, reasons=row.reasons, p50_ms=p50_ms if passed else None)
    store.put(key, verdict)


def _row(bundle: Bundle, run: PlannedRun, options: RuntimeOptions, timeout_s: float) -> CheckRow:
    row = CheckRow(
        artifact=run.artifact.id,
        sha256=run.artifact.files[run.artifact.path],
        runtime=run.row.name,
        precision=run.precision,
        status="unjudged",
        reasons=(
            "the bundle carries no outputs of it; add images with --images, or --calib for int8",
        ),
    )
    missing = _missing(run, options)
    if missing:
        return msgspec.structs.replace(row, status="skipped", reasons=(missing,))
    started = time.monotonic()
    reply = ask_child(
        bundle,
        run.row,
        options,
        artifact=run.artifact.id,
        precision=run.precision,
        timeout_s=timeout_s,
    )
    row = msgspec.structs.replace(row, wall_s=round(time.monotonic() - started, 2))
    if reply.missing:
        return msgspec.structs.replace(row, status="skipped", reasons=(reply.missing,))
    if problem := reply.died or (str(reply.failure.error()) if reply.failure else ""):
        return msgspec.structs.replace(row, status="failed", reasons=(problem,))
    if reply.row is None or not reply.judged:
        return row
    status = "verified" if reply.row.status == "passed" else "failed"
    return msgspec.structs.replace(row, status=status, reasons=reply.row.reasons, parity=reply.row)


def _missing(run: PlannedRun, options: RuntimeOptions) -> str:
    """What this machine lacks for a run, as far as is known without opening the file."""
    if run.foreign and run.artifact.format == "rknn":
        return f"cannot run here: it is for boards with the NPU of {run.artifact.form}"
    if run.foreign:
        return f"cannot run here: int8 of the form {run.artifact.form} is for other kernels"
    if options.device_kind not in run.row.devices:
        return f"{run.row.name} has no device {options.device_kind!r}"
    if not run.row.installed:
        return str(MissingExtraError.for_extra(run.row.package, run.row.extra))
    return ""


def _timed(
    bundle: Bundle, rows: Sequence[CheckRow], stored: StoredReference, options: RuntimeOptions
) -> tuple[list[CheckRow], tuple[str, ...]]:
    """The rows with the times of the verified ones, measured in turns, and doubts about them."""
    verified = [row for row in rows if row.status == "verified"]
    if not verified:
        return list(rows), ()
    selection = Selection(
        runtimes=sorted({row.runtime for row in verified}),
        precisions=sorted({row.precision for row in verified}),
        options=options,
        threads=(options.threads,),
    )
    with scratch_folder() as folder:
        files = []
        for number, image in enumerate(stored.images):
            path = folder / f"{number}.png"
            cv2.imwrite(str(path), image.pixels)
            files.append(path)
        report = run_bench([bundle], files, selection=selection, settings=_SHORT)
    times = {
        (row.artifact, row.config.runtime, row.config.precision): row
        for row in report.rows
        if row.figures
    }
    floats = [times[key] for row in verified if (key := _key(row)) in times and _is_float(row)]
    fastest = min(floats, key=_median, default=None)
    timed = [
        row
        if row.status != "verified" or _key(row) not in times
        else msgspec.structs.replace(
            row,
            p50_ms=_median(times[_key(row)]),
            over_fastest_float=ratio(_medians(times[_key(row)]), _medians(fastest))
            if fastest
            else None,
        )
        for row in rows
    ]
    return timed, report.warnings


def _key(row: CheckRow) -> tuple[str, str, str]:
    return row.artifact, row.runtime, row.precision


def _is_float(row: CheckRow) -> bool:
    return row.precision != "int8"


def _medians(row: BenchRow) -> list[float]:
    assert row.figures is not None
    return round_medians(row.figures.samples[_STAGE])


def _median(row: BenchRow) -> float:
    assert row.figures is not None
    return row.figures.stages[_STAGE].p50


def _advice(rows: Sequence[CheckRow]) -> str:
    """What to use here; `--precision fastest` takes the same."""
    verified = [row for row in rows if row.status == "verified"]
    if not verified:
        return "Nothing was verified here."
    best = fastest(
        TimedRun(row, row.precision, row.p50_ms) for row in verified if row.p50_ms is not None
    )
    if best is None:
        names = (run_name(row.artifact, row.runtime, row.precision) for row in verified)
        return f"Verified here: {', '.join(names)}; not timed."
    name = run_name(best.artifact, best.runtime, best.precision)
    over = best.over_fastest_float
    if _is_float(best) or over is None:
        return f"{name}: verified here, the fastest."
    return f"{name}: verified here, {1 / over.median:.1f} times as fast as the fastest float."
