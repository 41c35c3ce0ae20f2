"""Verdicts that the evidence of a bundle has on one of its artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ghost_deploy.core.bundle.folder import Bundle
from ghost_deploy.core.bundle.manifest import Artifact
from ghost_deploy.core.evidence.accuracy import AccuracyReport
from ghost_deploy.core.evidence.parity import ParityReport

_SENTENCES = {
    "parity": "failed its comparison with the checkpoint",
    "accuracy": "lost too much accuracy",
}


@dataclass(frozen=True)
class FailedVerdict:
    """A gate that an artifact failed.

    Attributes:
        kind: of the evidence: `statistics`, `parity`, `accuracy`, `fork` or `int8`.
        sentence: what failed, without a subject.
        reason: the figure that missed its limit; may be empty.
    """

    kind: str
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
        runtime, precision: of the run. A verdict of calibration names neither and
            counts on all runtimes.

    Raises:
        SpecError: stored evidence is damaged or of another version.
    """
    return tuple(_failed(bundle, artifact, (runtime, precision)))


def _failed(bundle: Bundle, artifact: Artifact, run: tuple[str, str]) -> Iterator[FailedVerdict]:
    file = (artifact.id, artifact.files[artifact.path])
    evidence = bundle.evidence
    if evidence.statistics and evidence.statistics.outcome is False:
        sentence = "was exported from a network that is not the trained one"
        yield FailedVerdict("statistics", sentence, evidence.statistics.sentence.rstrip("."))
    reports: list[ParityReport | AccuracyReport | None] = [evidence.parity, evidence.accuracy]
    for report in (each for each in reports if each is not None):
        for judged in report.rows:
            judged_run = (judged.artifact, judged.sha256, judged.runtime, judged.precision)
            if judged.status == "failed" and judged_run == (*file, *run):
                yield FailedVerdict(
                    report.KIND, _SENTENCES[report.KIND], next(iter(judged.reasons), "")
                )
    if evidence.fork is not None and evidence.fork.status == "failed":
        reason = next(iter(evidence.fork.reasons), "")
        yield FailedVerdict("fork", "is not the network of the fork's own code", reason)
    for row in evidence.int8.rows if evidence.int8 else ():
        if row.status == "failed" and (row.artifact, row.sha256) == file:
            lost = "" if row.drop is None else f"{row.drop:.2f} points"
            reason = lost and f"{lost}, at most {row.max_drop:g} allowed"
            yield FailedVerdict("int8", "lost too much accuracy in calibration", reason)
