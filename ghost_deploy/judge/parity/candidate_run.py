"""One candidate of a parity comparison, image after image, and the row that it ends in."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import (
    BackendError,
    GhostDeployError,
    ShapeError,
    SpecError,
    UnavailableError,
)
from ghost_deploy.core.evidence.parity import Attribution, Gate, ParityRow
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.candidates import Candidate, open_candidate
from ghost_deploy.judge.parity.diagnose import Suspect, attribute
from ghost_deploy.judge.parity.float64_check import Acquittal, SecondLook
from ghost_deploy.judge.parity.gate import failures, gate_for
from ghost_deploy.judge.parity.inputs import Picture
from ghost_deploy.judge.parity.stages import Truth, compare
from ghost_deploy.judge.parity.tally import Tally
from ghost_deploy.runtimes import RuntimeInfo, RuntimeOptions

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Run"]

_BROKEN = (BackendError, ShapeError, SpecError)
"""What a damaged or wrong artifact raises when it is opened, run or decoded."""

_NO_BARS = (
    "int8 is judged by mAP (ghost-deploy validate): these differences are reported without a bar"
)


class Run:
    """A candidate that is opened, compared on each image and judged at the end.

    Args:
        bundle, candidate, options: what is run, and on what.
        gate: the bars, where they are not those of the precision.

    Raises:
        UnavailableError: the user named what this machine cannot run; unnamed, it is skipped.
        BundleError: the artifact is not the file that was written.
    """

    def __init__(
        self,
        bundle: Bundle,
        candidate: Candidate,
        options: RuntimeOptions,
        gate: Gate | None = None,
    ) -> None:
        self._bundle, self._candidate, self._options = bundle, candidate, options
        self._gate = gate or gate_for(candidate.precision)
        self._tally = Tally()
        self._skipped = self._broken = ""
        self._detector: Detector | None = None
        self._info: RuntimeInfo | None = None
        try:
            self._detector = open_candidate(bundle, candidate, options)
            self._info = self._detector.runtime.info
        except UnavailableError as error:
            if candidate.named:
                raise
            self._skipped = str(error)
        except _BROKEN as error:
            self._broken = str(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._detector is not None:
            self._detector.close()

    def compare(self, name: str, truth: Truth) -> None:
        """Compare on one image with what the reference says; nothing once it broke."""
        if self._detector is None or self._broken:
            return
        conf = self._bundle.spec.thresholds.conf
        try:
            result = compare(truth, self._detector, self._gate, conf)
        except _BROKEN as error:
            self._broken = f"{name}: {error}"
            return
        self._tally.add(name, result.tensor, result.detections, result.input_max)

    def row(
        self,
        reference: Detector,
        pictures: Sequence[Picture],
        others: Sequence[Run],
        second: SecondLook | None,
    ) -> ParityRow:
        """Judge what was compared; look for the cause if a gate failed.

        Args:
            reference: the eager module's detector.
            pictures: those that were compared, to look at the worst one again.
            others: where a run of the same format and runtime in fp32 may be found.
            second: for an fp32 run that missed its gate; None where there is no network to ask.
        """
        if self._skipped:
            return self._make_row("skipped", (self._skipped,))
        if self._broken or self._detector is None:
            return self._make_row("failed", (self._broken,))
        tensor, found = self._tally.tensor(), self._tally.detections()
        misnamed = _misnamed(reference.spec, self._bundle.spec)
        missed = failures(self._gate, tensor, found)
        if missed and not misnamed and (acquittal := self._acquit(second)):
            return self._make_row("passed", (), acquittal=acquittal)
        blame = self._attribute(reference, pictures, others) if missed else None
        reasons = (*misnamed, *missed)
        return self._make_row("failed" if reasons else "passed", reasons, blame)

    def _acquit(self, second: SecondLook | None) -> Acquittal | None:
        """The second look, where float32 may be to blame instead of the artifact."""
        worst = self._tally.detections().worst
        if self._gate.precision != "fp32" or not self._tally.tensor().compared:
            return None
        if second is None or worst is None or self._detector is None:
            return None
        try:
            return second.at(self._detector, self._gate, worst.name)
        except _BROKEN:
            return None

    def _attribute(
        self, reference: Detector, pictures: Sequence[Picture], others: Sequence[Run]
    ) -> Attribution | None:
        worst = self._tally.detections().worst
        if worst is None or self._detector is None:
            return None
        picture = next(picture for picture in pictures if picture.name == worst.name)
        plain, opened = self._plain(others)
        suspect = Suspect(self._detector, self._gate, plain)
        conf = self._bundle.spec.thresholds.conf
        try:
            return attribute(reference, suspect, picture, conf)
        except _BROKEN as error:
            return Attribution(stage="unclear", sentence=str(error), image=worst.name)
        finally:
            if opened and plain is not None:
                plain.close()

    def _plain(self, others: Sequence[Run]) -> tuple[Detector | None, bool]:
        """The fp32 detector of the same format and runtime, and whether it was opened for this."""
        own = self._candidate
        if own.precision == "fp32":
            return None, False
        for run in others:
            other = run._candidate
            same = (other.artifact.format, other.runtime) == (own.artifact.format, own.runtime)
            if same and other.precision == "fp32" and run._detector and not run._broken:
                return run._detector, False
        for artifact in self._bundle.artifacts:
            if (artifact.format, artifact.precision) == (own.artifact.format, "fp32"):
                candidate = Candidate(artifact, own.runtime, "fp32", named=False)
                try:
                    return open_candidate(self._bundle, candidate, self._options), True
                except GhostDeployError:
                    return None, False
        return None, False

    def _make_row(
        self,
        status: Literal["passed", "failed", "skipped"],
        reasons: tuple[str, ...],
        blame: Attribution | None = None,
        acquittal: Acquittal | None = None,
    ) -> ParityRow:
        artifact, info = self._candidate.artifact, self._info
        ran = info is not None and not self._broken
        notes = info.notes if info else ()
        tensor, found = self._tally.tensor(), self._tally.detections()
        if self._gate.judged_by != "parity":
            notes = (*notes, _NO_BARS)
        if acquittal is not None:
            tensor, found = acquittal.tensor, acquittal.detections
        return ParityRow(
            artifact=artifact.id,
            sha256=artifact.files.get(artifact.path, ""),
            runtime=self._candidate.runtime,
            precision=self._candidate.precision,
            status=status,
            gate=acquittal.gate if acquittal else self._gate,
            coarse=acquittal.note if acquittal else "",
            reasons=reasons,
            tensor=tensor if ran else None,
            detections=found if ran else None,
            attribution=blame,
            device=info.device if info else "",
            version=info.version if info else "",
            compute=info.compute if info else "",
            notes=notes,
        )


def _misnamed(own: ModelSpec, told: ModelSpec) -> tuple[str, ...]:
    """Why the bundle's class names are not the checkpoint's; numbers alone would not show it."""
    pairs = zip(own.class_names, told.class_names, strict=False)
    for number, (right, wrong) in enumerate(pairs):
        if right != wrong:
            return (f"class {number} is {right!r} in the checkpoint and {wrong!r} in the bundle",)
    return ()
