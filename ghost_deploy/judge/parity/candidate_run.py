"""One artifact in a parity comparison, image after image, and its row in the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import GhostDeployError, UnavailableError
from ghost_deploy.core.evidence.parity import NOT_JUDGED, Attribution, Gate, ParityRow
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.open_detector import BROKEN, open_detector
from ghost_deploy.judge.parity.diagnose import FailedCandidate, diagnose
from ghost_deploy.judge.parity.float64_check import Float64Check, Float64Pass
from ghost_deploy.judge.parity.gate import failures, gate_for
from ghost_deploy.judge.parity.inputs import InputImage
from ghost_deploy.judge.parity.stages import ReferenceResult, accepts_size, compare
from ghost_deploy.judge.parity.tally import Tally
from ghost_deploy.runtimes.base import RuntimeInfo, RuntimeOptions
from ghost_deploy.runtimes.kserve.protocol import ServerAwayError
from ghost_deploy.runtimes.run_plan import PlannedRun, plan_runs


class ParityRun(Closing):
    """A planned run that is opened, compared on each image and judged at the end.

    Args:
        bundle: that holds the artifact.
        plan: what is run.
        options: device and threads.
        gate: the limits; default: those of the precision.

    Raises:
        UnavailableError: this machine cannot run it, and the user named it; otherwise it is
            skipped.
        BundleError: a file of the artifact is missing or was changed.
    """

    def __init__(
        self, bundle: Bundle, plan: PlannedRun, options: RuntimeOptions, gate: Gate | None = None
    ) -> None:
        self._bundle, self._plan, self._options = bundle, plan, options
        self._gate = gate or gate_for(plan.precision)
        self._tally = Tally()
        self._skipped = self._broken = ""
        self._detector: Detector | None = None
        self._info: RuntimeInfo | None = None
        try:
            self._detector = open_detector(bundle, plan, options)
            self._info = self._detector.runtime.info
        except UnavailableError as error:
            if plan.named:
                raise
            self._skipped = str(error)
        except ServerAwayError:
            raise
        except BROKEN as error:
            self._broken = str(error)

    def close(self) -> None:
        """Close the artifact."""
        if self._detector is not None:
            self._detector.close()

    def compare(self, name: str, reference: ReferenceResult) -> None:
        """Compare on one image; does nothing once the run has failed.

        Args:
            name: of the image.
            reference: the result of the reference on it.

        Raises:
            ServerAwayError: the server that runs the model does not answer any more.
        """
        if self._detector is None or self._broken:
            return
        if not accepts_size(self._detector.spec.input, reference.size_hw):
            return  # of a bundle of any size, an artifact of one
        conf = self._bundle.spec.thresholds.conf
        try:
            result = compare(reference, self._detector, self._gate, conf)
        except ServerAwayError:
            raise
        except BROKEN as error:
            self._broken = f"{name}: {error}"
            return
        self._tally.add(name, result.tensor, result.detections, result.input_max)

    def row(
        self,
        reference: Detector,
        images: Sequence[InputImage],
        others: Sequence[ParityRun],
        float64_check: Float64Check | None,
    ) -> ParityRow:
        """Judge the comparison; look for the cause if the gate failed.

        Args:
            reference: detector of the PyTorch module.
            images: those that were compared; the worst one is run again.
            others: where a run of the same format and runtime in fp32 may be found.
            float64_check: for an fp32 run that failed its gate; None without a PyTorch module.
        """
        if self._skipped:
            return self._make_row("skipped", (self._skipped,))
        if self._broken or self._detector is None:
            return self._make_row("failed", (self._broken,))
        tensor, found = self._tally.tensor(), self._tally.detections()
        misnamed = _misnamed(reference.spec, self._bundle.spec)
        missed = failures(self._gate, tensor, found)
        if missed and not misnamed and (passed := self._check_in_float64(float64_check)):
            return self._make_row("passed", (), float64_pass=passed)
        cause = self._diagnose(reference, images, others) if missed else None
        reasons = (*misnamed, *missed)
        if not reasons and self._gate.judged_by != "parity":
            return self._make_row("unjudged", (NOT_JUDGED,))
        return self._make_row("failed" if reasons else "passed", reasons, cause)

    def _check_in_float64(self, check: Float64Check | None) -> Float64Pass | None:
        """Whether float32 is too coarse for the network, instead of the artifact being wrong."""
        worst = self._tally.detections().worst
        if self._gate.precision != "fp32" or not self._tally.tensor().compared:
            return None
        if check is None or worst is None or self._detector is None:
            return None
        try:
            return check.run(self._detector, self._gate, worst.name)
        except BROKEN:
            return None

    def _diagnose(
        self, reference: Detector, images: Sequence[InputImage], others: Sequence[ParityRun]
    ) -> Attribution | None:
        worst = self._tally.detections().worst
        if worst is None or self._detector is None:
            return None
        image = next(image for image in images if image.name == worst.name)
        fp32, opened = self._in_fp32(others)
        failed = FailedCandidate(self._detector, self._gate, fp32)
        conf = self._bundle.spec.thresholds.conf
        try:
            return diagnose(reference, failed, image, conf)
        except BROKEN as error:
            return Attribution(stage="unclear", sentence=str(error), image=worst.name)
        finally:
            if opened and fp32 is not None:
                fp32.close()

    def _in_fp32(self, others: Sequence[ParityRun]) -> tuple[Detector | None, bool]:
        """The fp32 detector of the same format and runtime, and whether it was opened for this."""
        own = self._plan
        if own.precision == "fp32":
            return None, False
        for run in others:
            other = run._plan
            same = (other.artifact.format, other.row) == (own.artifact.format, own.row)
            if same and other.precision == "fp32" and run._detector and not run._broken:
                return run._detector, False
        for plan in plan_runs(self._bundle, [own.row.name], ["fp32"]):
            try:
                return open_detector(self._bundle, plan, self._options), True
            except GhostDeployError:
                break
        return None, False

    def _make_row(
        self,
        status: Literal["passed", "failed", "skipped", "unjudged"],
        reasons: tuple[str, ...],
        cause: Attribution | None = None,
        float64_pass: Float64Pass | None = None,
    ) -> ParityRow:
        artifact, info = self._plan.artifact, self._info
        ran = info is not None and not self._broken
        notes = info.notes if info else ()
        tensor, found = self._tally.tensor(), self._tally.detections()
        if float64_pass is not None:
            tensor, found = float64_pass.tensor, float64_pass.detections
        return ParityRow(
            artifact=artifact.id,
            sha256=artifact.files.get(artifact.path, ""),
            runtime=self._plan.row.name,
            precision=self._plan.precision,
            status=status,
            gate=float64_pass.gate if float64_pass else self._gate,
            coarse=float64_pass.note if float64_pass else "",
            reasons=reasons,
            tensor=tensor if ran else None,
            detections=found if ran else None,
            attribution=cause,
            device=info.device if info else "",
            version=info.version if info else "",
            compute=info.compute if info else "",
            notes=notes,
            simulated=info.simulated if info else False,
        )


def _misnamed(own: ModelSpec, bundled: ModelSpec) -> tuple[str, ...]:
    """The first class name of the bundle that is not that of the checkpoint."""
    pairs = zip(own.class_names, bundled.class_names, strict=False)
    for number, (right, wrong) in enumerate(pairs):
        if right != wrong:
            return (f"class {number} is {right!r} in the checkpoint and {wrong!r} in the bundle",)
    return ()
