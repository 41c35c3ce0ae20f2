"""Check all artifacts of a bundle on this machine, each in a process of its own, then time them."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import msgspec

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.core.evidence.check import CheckReport, CheckRow
from ghost_deploy.core.evidence.latency import BenchRow, Settings
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.judge.bench.benchmark import run_bench
from ghost_deploy.judge.bench.selection import Selection
from ghost_deploy.judge.bench.snapshot import take_snapshot
from ghost_deploy.judge.bench.statistics import ratio, round_medians
from ghost_deploy.judge.check.check_child import CheckReply, CheckRequest
from ghost_deploy.judge.check.verdict_store import StoredVerdict, VerdictStore, verdict_key
from ghost_deploy.judge.parity.self_check import is_judged
from ghost_deploy.judge.parity.stored_reference import StoredReference, read_stored
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import PlannedRun, plan_runs

_COMMAND = ("-m", "ghost_deploy.judge.check.check_child")
_STAGE = "run_alone"
_SHORT = Settings(duration_s=2.0, rounds=10, warmup_s=0.2)
_FASTER = 0.97
"""From this multiple of the fastest float time on, int8 is worth a recommendation."""


def check_bundle(
    bundle: Bundle,
    options: RuntimeOptions,
    store: VerdictStore,
    *,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    timeout_s: float = 120.0,
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
        BundleError: the reference outputs are missing or were changed.
        UsageError: unknown runtime or precision.
    """
    stored = read_stored(bundle)
    plans = [run for run in plan_runs(bundle, runtimes, precisions) if not run.foreign]
    rows = []
    for number, run in enumerate(plans):
        progress("checking: run", number, len(plans))
        rows.append(_row(bundle, run, options, timeout_s))
    if speed and stored:
        progress("timing", 0, 0)
        rows = _timed(bundle, rows, stored, options)
    for run, row in zip(plans, rows, strict=True):
        if row.status in ("verified", "failed"):
            verdict = StoredVerdict(
                passed=row.status == "verified", reasons=row.reasons, p50_ms=row.p50_ms
            )
            store.put(verdict_key(bundle, run, options.device), verdict)
    return CheckReport(
        model=bundle.spec.name,
        images=len(stored.images) if stored else 0,
        rows=tuple(rows),
        machine=take_snapshot(),
        advice=_advice(rows),
    )


def _row(bundle: Bundle, run: PlannedRun, options: RuntimeOptions, timeout_s: float) -> CheckRow:
    missing = _missing(run, options)
    reply = CheckReply(missing=missing) if missing else _ask(bundle, run, options, timeout_s)
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
    if reply.missing:
        return msgspec.structs.replace(row, status="skipped", reasons=(reply.missing,))
    if reply.broken:
        return msgspec.structs.replace(row, status="failed", reasons=(reply.broken,))
    if reply.row is None or not is_judged(reply.row):
        return row
    status = "verified" if reply.row.status == "passed" else "failed"
    return msgspec.structs.replace(row, status=status, reasons=reply.row.reasons, parity=reply.row)


def _missing(run: PlannedRun, options: RuntimeOptions) -> str:
    """What this machine lacks for a run, as far as is known without opening the file."""
    if options.device_kind not in run.row.devices:
        return f"{run.row.name} has no device {options.device_kind!r}"
    if not run.row.installed:
        return str(MissingExtraError.for_extra(run.row.package, run.row.extra))
    return ""


def _ask(bundle: Bundle, run: PlannedRun, options: RuntimeOptions, timeout_s: float) -> CheckReply:
    """The reply of a child process: what hangs or dies there does not take this process along."""
    request = CheckRequest(
        bundle=str(bundle.path),
        artifact=run.artifact.id,
        runtime=run.row.name,
        precision=run.precision,
        device=options.device,
        threads=options.threads,
        allow_fallback=options.allow_fallback,
    )
    try:
        done = subprocess.run(
            [sys.executable, *_COMMAND],
            input=msgspec.json.encode(request),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return CheckReply(broken=f"no answer within {timeout_s:g} s")
    if done.returncode == 0:
        return msgspec.json.decode(done.stdout, type=CheckReply)
    return CheckReply(broken=_death(run, done))


def _death(run: PlannedRun, done: subprocess.CompletedProcess[bytes]) -> str:
    if done.returncode == -signal.SIGILL:
        return (
            f"the package {run.row.package} uses instructions that this processor lacks (illegal "
            "instruction); ghost-deploy doctor names versions that work"
        )
    if done.returncode < 0:
        return f"the process was ended by {signal.Signals(-done.returncode).name}"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"the process ended with {done.returncode}"


def _timed(
    bundle: Bundle, rows: Sequence[CheckRow], stored: StoredReference, options: RuntimeOptions
) -> list[CheckRow]:
    """The rows with the times of the verified ones, measured in turns."""
    verified = [row for row in rows if row.status == "verified"]
    if not verified:
        return list(rows)
    selection = Selection(
        runtimes=sorted({row.runtime for row in verified}),
        precisions=sorted({row.precision for row in verified}),
        options=options,
        threads=(options.threads,),
    )
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, image in enumerate(stored.images):
            path = Path(folder) / f"{number}.png"
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
    return [
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
    """What to use here."""
    verified = [row for row in rows if row.status == "verified"]
    if not verified:
        return "Nothing was verified here."
    timed = [row for row in verified if row.p50_ms is not None]
    floats = [row for row in timed if _is_float(row)]
    if not floats:
        return f"Verified here: {', '.join(row.artifact for row in verified)}; not timed."
    best = min(floats, key=lambda row: row.p50_ms or 0)
    int8 = [
        (row.over_fastest_float.high, row)
        for row in timed
        if not _is_float(row) and row.over_fastest_float
    ]
    worst_time, fastest = min(int8, key=lambda pair: pair[0], default=(1.0, best))
    if worst_time <= _FASTER and fastest.over_fastest_float:
        times = 1 / fastest.over_fastest_float.median
        return (
            f"{fastest.artifact} on {fastest.runtime}: verified here, {times:.1f} times the "
            "fastest float."
        )
    return f"{best.artifact} on {best.runtime} in {best.precision}: verified here, the fastest."
