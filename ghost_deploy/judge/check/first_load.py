"""The check of an artifact that was never run on this machine, when it is loaded."""

from __future__ import annotations

from collections.abc import Callable

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.judge.check.verdict_store import StoredVerdict, VerdictStore, verdict_key
from ghost_deploy.judge.parity.self_check import is_judged, self_check
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import PlannedRun


def check_first_load(
    bundle: Bundle,
    run: PlannedRun,
    options: RuntimeOptions,
    store: VerdictStore,
    note: Callable[[str], None],
) -> None:
    """Refuse an artifact that does not reproduce the stored outputs on this machine.

    The images that the bundle carries are run once; later loads read the verdict.

    Args:
        bundle: that holds the artifact.
        run: what is to be loaded.
        options: device and threads.
        store: of verdicts.
        note: called with what a user should know.

    Raises:
        GateError: the artifact is wrong on this machine.
        BundleError, BackendError, UnavailableError: it cannot be opened here.
    """
    key = verdict_key(bundle, run, options.device)
    verdict = store.get(key)
    if verdict is None:
        verdict = _check(bundle, run, options, store, key, note)
    if verdict is not None and not verdict.passed:
        raise GateError(
            f"{run.label} is wrong on this machine: it does not reproduce the outputs that "
            "the bundle carries",
            got=verdict.reasons[0] if verdict.reasons else None,
            fix="See what is right here: ghost-deploy check BUNDLE. Use another precision or "
            "runtime, or pass --no-check (check=False in Python)",
        )


def _check(
    bundle: Bundle,
    run: PlannedRun,
    options: RuntimeOptions,
    store: VerdictStore,
    key: str,
    note: Callable[[str], None],
) -> StoredVerdict | None:
    """Run the carried images; None where the bundle carries nothing to compare with."""
    row = self_check(bundle, run.artifact, run.row.name, options, precision=run.precision)
    if row is None or not is_judged(row):
        if run.precision == "int8":
            note(
                f"{run.label} was not checked on this machine: the bundle carries no outputs of "
                "it; add them with: ghost-deploy calibrate BUNDLE --calib FOLDER"
            )
        return None
    verdict = StoredVerdict(passed=row.status == "passed", reasons=row.reasons)
    compared = f"{run.label} checked on this machine, once"
    failed = store.put(key, verdict)
    note(f"{compared}; the verdict cannot be kept: {failed}" if failed else compared)
    return verdict
