"""Evidence of a board, put into the bundle here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.boards import BoardFacts, BoardsReport
from ghost_deploy.core.evidence.check import CheckReport
from ghost_deploy.core.evidence.json_document import something_ran
from ghost_deploy.core.evidence.latency import BenchReport
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.remote.answers import reading_answer

_KINDS: Mapping[str, type[CheckReport | BenchReport | AccuracyReport]] = {
    "check": CheckReport,
    "bench": BenchReport,
    "validate": AccuracyReport,
}


def store_report(
    command: str, facts: BoardFacts, plain: Mapping[str, Any], bundles: Sequence[Bundle]
) -> Iterator[str]:
    """Put what a command printed on a board into the bundles here, as evidence of that board.

    A report without any run replaces none and is not stored.
    `bundle.json` is read again and replaced as a whole, so that what others wrote meanwhile stays.

    Args:
        command: its name.
        facts: the board.
        plain: the JSON document that the command printed.
        bundles: that ran there.

    Yields:
        A sentence on each bundle.

    Raises:
        SpecError: the document is damaged or of another version.
        BundleError: a bundle cannot be written to.
    """
    if command not in _KINDS:
        return
    kind = _KINDS[command]
    report = kind.from_document(plain, where=f"the {kind.KIND} report of {facts.name}")
    machine = getattr(report, "machine", None) or getattr(report, "snapshot", None)
    if isinstance(machine, Snapshot):
        facts = msgspec.structs.replace(facts, packages=machine.packages)
    for bundle in bundles:
        part = _corrected(report, facts.clock_offset_s, facts.name)
        if isinstance(part, BenchReport):
            part = part.only([bundle.path.absolute().name])
        elif isinstance(part, AccuracyReport):
            part = part.thin()
        if not something_ran(row.status for row in part.rows):
            yield f"nothing ran on {facts.name}: no {part.KIND} of it is stored in {bundle.path}"
            continue
        hashes = {each.files[each.path] for each in bundle.artifacts}

        def having(stored: Bundle, part: Any = part, hashes: set[str] = hashes) -> Bundle | None:
            if not hashes <= {each.files[each.path] for each in stored.artifacts}:
                return None
            boards = stored.evidence.boards or BoardsReport()
            return stored.with_evidence(boards.having(facts, part))

        stored = Bundle.amend(bundle.path, having)
        yield (
            f"{part.KIND} of {facts.name} stored in {bundle.path}"
            if stored
            else f"{bundle.path} was exported anew meanwhile: the {part.KIND} of {facts.name} was "
            "not stored"
        )


def _corrected(report: Any, offset_s: float, name: str) -> Any:
    """The report with the times of the clock here."""
    for field in ("machine", "snapshot"):
        machine = getattr(report, field, None)
        if isinstance(machine, Snapshot):
            with reading_answer(name, "a time of measurement"):
                then = datetime.fromisoformat(machine.measured_at) + timedelta(seconds=offset_s)
            if not offset_s:
                continue
            changed = msgspec.structs.replace(
                machine, measured_at=then.isoformat(timespec="seconds")
            )
            report = msgspec.structs.replace(report, **{field: changed})
    return report
