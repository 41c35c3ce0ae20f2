"""What a check runs of a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import UsageError
from ghost_deploy.runtimes.run_plan import PlannedRun, require_runs
from ghost_deploy.runtimes.table import runtime_row


def checked_runs(
    bundle: Bundle, runtimes: Sequence[str] | None, precisions: Sequence[str] | None
) -> list[PlannedRun]:
    """The runs in int8 kernels of this machine, and one of each artifact that has no such run.

    Args:
        bundle, runtimes, precisions: see `plan_runs`.

    Raises:
        UsageError: unknown runtime or precision, or a runtime of a server.
        BundleError: the bundle has no matching artifact.
    """
    for name in runtimes or ():
        if runtime_row(name).remote:
            raise UsageError(
                "check is about the files of a bundle on a machine",
                got=f"the runtime {name}, which runs a model on a server",
                fix="Compare or measure what the server runs: ghost-deploy parity --url, or "
                "ghost-deploy validate --url",
            )
    return list(_one_of_each(require_runs(bundle, runtimes, precisions)))


def _one_of_each(runs: Sequence[PlannedRun]) -> Iterator[PlannedRun]:
    named = {run.artifact.id for run in runs if not run.foreign}
    for run in runs:
        if not run.foreign or run.artifact.id not in named:
            named.add(run.artifact.id)
            yield run
