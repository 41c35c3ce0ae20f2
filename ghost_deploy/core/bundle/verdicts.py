"""Verdicts that the evidence of a bundle has on one of its artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ghost_deploy.core.bundle.folder import Bundle
from ghost_deploy.core.bundle.manifest import Artifact


@dataclass(frozen=True)
class FailedVerdict:
    """A gate that an artifact failed.

    Attributes:
        kind: of the evidence.
        sentence: what failed, without a subject.
        reason: the figure that missed its limit; may be empty.
    """

    kind: Literal["parity", "accuracy", "int8"]
    sentence: str
    reason: str

    def __str__(self) -> str:
        return f"{self.sentence}: {self.reason}" if self.reason else self.sentence


def failed_verdicts(
    bundle: Bundle, artifact: Artifact, runtime: str, precision: str
) -> tuple[FailedVerdict, ...]:
    """The stored verdicts that an artifact failed.

    Args:
        bundle: that holds it.
        artifact: which; a verdict on a file with another hash does not count.
        runtime, precision: what it is run on and in. A verdict of calibration names neither and
            counts on all runtimes.

    Raises:
        SpecError: stored evidence is damaged or of another version.
    """
    return tuple(_failed(bundle, artifact, (runtime, precision)))


def _failed(bundle: Bundle, artifact: Artifact, run: tuple[str, str]) -> Iterator[FailedVerdict]:
    file = (artifact.id, artifact.files[artifact.path])
    evidence = bundle.evidence
    for parity in evidence.parity.rows if evidence.parity else ():
        judged = (parity.artifact, parity.sha256, parity.runtime, parity.precision)
        if parity.status == "failed" and judged == (*file, *run):
            reason = next(iter(parity.reasons), "")
            yield FailedVerdict("parity", "failed its comparison with the checkpoint", reason)
    for accuracy in evidence.accuracy.rows if evidence.accuracy else ():
        judged = (accuracy.artifact, accuracy.sha256, accuracy.runtime, accuracy.precision)
        if accuracy.status == "failed" and judged == (*file, *run):
            yield FailedVerdict(
                "accuracy", "lost too much accuracy", next(iter(accuracy.reasons), "")
            )
    for row in evidence.int8.rows if evidence.int8 else ():
        if row.status == "failed" and (row.artifact, row.sha256) == file:
            lost = "" if row.drop is None else f"{row.drop:.2f} points"
            reason = lost and f"{lost}, at most {row.max_drop:g} allowed"
            yield FailedVerdict("int8", "lost too much accuracy in calibration", reason)
