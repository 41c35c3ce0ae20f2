"""Verdicts that the evidence of a bundle has on one of its artifacts."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ghost_deploy.core.bundle.folder import Bundle
from ghost_deploy.core.bundle.manifest import Artifact

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.accuracy import AccuracyReport
    from ghost_deploy.core.evidence.parity import ParityReport

_FLOAT = ("fp32", "fp16")
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


def failures_of(bundle: Bundle, artifact: Artifact) -> tuple[FailedVerdict, ...]:
    """The stored verdicts that an artifact failed in its own precision, on whatever runtime."""
    evidence = bundle.evidence
    reports = [each for each in (evidence.parity, evidence.accuracy) if each is not None]
    rows = [row for report in reports for row in report.rows if row.artifact == artifact.id]
    runtimes = dict.fromkeys(row.runtime for row in rows if row.precision == artifact.precision)
    found: dict[FailedVerdict, None] = {}
    for runtime in runtimes or [""]:
        found |= dict.fromkeys(failed_verdicts(bundle, artifact, runtime, artifact.precision))
    return tuple(found)


def replacing_command(bundle: Bundle, artifact: Artifact) -> str:
    """The command that replaces a failed artifact of a bundle, or makes the bundle without it."""
    place = shlex.quote(str(bundle.path))
    exported = [each for each in bundle.artifacts if each.format != "tensorrt"]
    failed = {each.precision for each in exported if failures_of(bundle, each)}
    kept = {each.precision for each in exported} - failed
    only = "".join(f" --{precision}" for precision in _FLOAT if precision in kept)
    source = shlex.quote(bundle.document.source.file)
    return command_that_replaces(artifact.id, artifact.precision, place, source, only)


def command_that_replaces(
    artifact: str,
    precision: str,
    bundle: str = "BUNDLE",
    checkpoint: str = "CHECKPOINT",
    only: str = "",
) -> str:
    """The command that makes an artifact anew.

    Args:
        artifact: its id.
        precision: of it.
        bundle, checkpoint: their paths.
        only: options of `export` that name the precisions to make.
    """
    if artifact.startswith("tensorrt-"):
        return f"ghost-deploy build {bundle} --trt --{precision} --overwrite"
    if artifact.startswith("rknn-"):
        soc = artifact.rpartition("-")[2]
        calib = " --int8 --calib IMAGES" if precision == "int8" else " --images IMAGES"
        return f"ghost-deploy export {checkpoint} -o {bundle} --rknn --for {soc}{calib} --overwrite"
    if precision == "int8":
        return f"ghost-deploy calibrate {bundle} --calib IMAGES --overwrite"
    return f"ghost-deploy export {checkpoint} -o {bundle}{only} --images IMAGES --overwrite"
