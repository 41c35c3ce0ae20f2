"""The check of a model that was never run on this machine, when it is loaded.

It runs in a child process, so that a package with instructions that this processor lacks, or a
backend that never answers, is an error like any other. Later loads read the verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.judge.check.verdict_store import (
    StoredVerdict,
    VerdictStore,
    backend_key,
    verdict_key,
)
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import PlannedRun
from ghost_deploy.runtimes.table import RuntimeRow
from ghost_deploy.runtimes.wheels import illegal_instruction

if TYPE_CHECKING:
    from ghost_deploy.judge.check.check_child import CheckReply


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
        GateError: the artifact is wrong on this machine, or gives no answer.
        UnavailableError: the backend uses instructions that this processor lacks.
        BundleError, BackendError: the artifact cannot be opened.
    """
    key = verdict_key(bundle, run, options.device)
    verdict = store.get(key)
    if verdict is None:
        verdict = _check(bundle, run, options, store, key, note)
    if verdict is None:
        return
    if not verdict.judged and run.precision == "int8":
        note(
            f"{run.label} was not checked on this machine: the bundle carries no outputs of "
            "it; add them with: ghost-deploy calibrate BUNDLE --calib FOLDER"
        )
    if not verdict.passed:
        raise GateError(
            f"{run.label} is wrong on this machine: it does not reproduce the outputs that "
            "the bundle carries",
            got=verdict.reasons[0] if verdict.reasons else None,
            fix="See what is right here: ghost-deploy check BUNDLE. Use another precision or "
            "runtime, or pass --no-check (check=False in Python)",
        )


def check_backend(
    path: Path, row: RuntimeRow, options: RuntimeOptions, store: VerdictStore
) -> None:
    """Refuse a backend that ends the process on this machine; a single file tells no more.

    It opens the file and runs it once in a child process; later loads read that it did.

    Args:
        path: a model file.
        row: what opens it.
        options: device and threads.
        store: of verdicts.

    Raises:
        UnavailableError: the backend uses instructions that this processor lacks.
    """
    key = backend_key(row, options.device)
    if store.get(key) is not None:
        return
    from ghost_deploy.judge.check.ask_child import ask_child, can_ask

    if not can_ask():
        return
    reply = ask_child(path, row, options, precision=options.precision)
    _require_legal(reply, row)
    if not reply.failure and not reply.died:
        store.put(key, StoredVerdict(passed=True, judged=False))


def _check(
    bundle: Bundle,
    run: PlannedRun,
    options: RuntimeOptions,
    store: VerdictStore,
    key: str,
    note: Callable[[str], None],
) -> StoredVerdict | None:
    """Run the carried images; None where opening the artifact says more than a verdict."""
    reply = _reply(bundle, run, options)
    _require_legal(reply, run.row)
    if reply.missing:
        return None
    if reply.failure:
        raise reply.failure.error()
    row = reply.row
    reasons = row.reasons if row else tuple(filter(None, (reply.died,)))
    failed = bool(reply.died) or (row is not None and row.status == "failed")
    verdict = StoredVerdict(passed=not failed, reasons=reasons, judged=reply.judged)
    compared = f"{run.label} {'checked' if reply.judged else 'run'} on this machine, once"
    kept = store.put(key, verdict)
    note(f"{compared}; the verdict cannot be kept: {kept}" if kept else compared)
    return verdict


def _reply(bundle: Bundle, run: PlannedRun, options: RuntimeOptions) -> CheckReply:
    # Imported here: later loads, which read the verdict, need nothing of it.
    from ghost_deploy.judge.check.ask_child import ask_child, can_ask
    from ghost_deploy.judge.check.check_child import CheckReply
    from ghost_deploy.judge.parity.self_check import self_check

    if can_ask():
        return ask_child(
            bundle, run.row, options, artifact=run.artifact.id, precision=run.precision
        )
    return CheckReply(
        row=self_check(bundle, run.artifact, run.row.name, options, precision=run.precision)
    )


def _require_legal(reply: CheckReply, row: RuntimeRow) -> None:
    if reply.illegal:
        raise illegal_instruction(row.package)
