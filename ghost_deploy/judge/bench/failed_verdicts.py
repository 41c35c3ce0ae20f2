"""What a bundle's own evidence has against an artifact that is to be timed.

Its types belong to rooms that this one may not import, so it is read in its plain form; whatever
has another form says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ghost_deploy.core.bundle import Artifact, Bundle

__all__ = ["failed_verdicts"]

_SENTENCES = {
    "parity": "failed its comparison with the checkpoint",
    "accuracy": "lost too much accuracy",
    "int8": "lost too much accuracy in calibration",
}


def failed_verdicts(
    bundle: Bundle, artifact: Artifact, runtime: str, precision: str
) -> tuple[str, ...]:
    """A sentence for each stored verdict that this artifact, run like that, failed."""
    asked = {
        "artifact": artifact.id,
        "sha256": artifact.files[artifact.path],
        "runtime": runtime,
        "precision": precision,
    }
    return tuple(
        f"{sentence}{_reasons(row)}"
        for kind, sentence in _SENTENCES.items()
        for row in _rows(bundle.document.evidence.get(kind))
        # A verdict of calibration counts on every runtime: it names none.
        if row.get("status") == "failed"
        and all(row.get(key, value) == value for key, value in asked.items())
    )


def _rows(document: Any) -> Iterator[Mapping[str, Any]]:
    rows = document.get("rows") if isinstance(document, Mapping) else None
    if isinstance(rows, Sequence):
        yield from (row for row in rows if isinstance(row, Mapping) and "sha256" in row)


def _reasons(row: Mapping[str, Any]) -> str:
    reasons = row.get("reasons")
    if isinstance(reasons, Sequence) and reasons:
        return f": {reasons[0]}"
    drop, most = row.get("drop"), row.get("max_drop")
    if isinstance(drop, int | float) and isinstance(most, int | float):
        return f": {drop:.2f} points, at most {most:g} allowed"
    return ""
