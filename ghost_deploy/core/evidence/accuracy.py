"""The accuracy report: figures, differences and verdicts, ready for JSON."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ghost_deploy.core.errors import GateError, UsageError
from ghost_deploy.core.spec import decode_json
from ghost_deploy.judge.accuracy.bootstrap import Interval
from ghost_deploy.judge.accuracy.figures import Accuracy, HardImage, Recorded
from ghost_deploy.judge.datasets.dataset import DataSetFacts

__all__ = [
    "MAX_DROP",
    "SCHEMA",
    "AccuracyReport",
    "AccuracyRow",
    "ClassDelta",
    "Reference",
    "max_drop_for",
]

SCHEMA = 1
"""Version of the JSON form of `AccuracyReport`; a reader refuses any other."""

MAX_DROP: dict[str, float] = {"fp32": 0.1, "fp16": 0.1, "bf16": 0.3, "int8": 0.5}
"""Largest loss of mAP50-95 by the precision that a model runs in, in points (0.01).

bf16 has 3 bits of mantissa less than fp16: -0.03 and +0.10 points were measured on two trained
checkpoints with 87 images. That of int8 is the default of calibration too; an artifact whose
calibration was given another one is held to that, see `bars`.
"""


def max_drop_for(precision: str) -> float:
    """The largest loss of mAP50-95 that passes in that precision, points.

    Raises:
        UsageError: there is no gate for it.
    """
    try:
        return MAX_DROP[precision]
    except KeyError:
        raise UsageError(
            f"there is no accuracy gate for precision {precision!r}",
            expected=", ".join(MAX_DROP),
            fix="Name the largest loss yourself: --max-drop POINTS",
        ) from None


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the artifacts are compared with.

    Attributes:
        name: e.g. `eager (PyTorch 2.6.0) in fp32`, or the fp32 artifact that stands in for it.
        kind: `checkpoint` for the PyTorch module; `artifact` where no checkpoint was given, so
            that what the fp32 export itself lost is not seen.
        accuracy: its figures.
    """

    name: str
    kind: Literal["checkpoint", "artifact"]
    accuracy: Accuracy


class ClassDelta(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model gained or lost in one class; None where there is nothing to compare.

    Attributes:
        delta: AP50-95 less the reference's, points.
        interval: where `delta` lies when images are drawn again.
    """

    delta: float | None
    interval: Interval | None


class AccuracyRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One artifact on one runtime in one precision.

    Attributes:
        artifact: its id in the bundle, e.g. `onnx-fp16`.
        sha256: of the file that the runtime opens.
        runtime, precision: what it was asked to run on and in.
        status: `skipped` and `reference` are no verdicts: this machine cannot run it, or it is
            what the others are compared with.
        max_drop: the gate: largest loss of mAP50-95, points.
        reasons: why it failed or was skipped; empty when it passed.
        accuracy: the figures; None when it did not run.
        delta: mAP50-95 less the reference's, points; None where there is no reference.
        interval: where `delta` lies when images are drawn again; None as `delta`.
        classes: the same of each class, in the order of the class ids; empty as `delta` is None.
        device, version, compute, notes: as the runtime reported them.
    """

    artifact: str
    sha256: str
    runtime: str
    precision: str
    status: Literal["passed", "failed", "skipped", "reference"]
    max_drop: float
    reasons: tuple[str, ...] = ()
    accuracy: Accuracy | None = None
    delta: float | None = None
    interval: Interval | None = None
    classes: tuple[ClassDelta, ...] = ()
    device: str = ""
    version: str = ""
    compute: str = ""
    notes: tuple[str, ...] = ()


class AccuracyReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How accurate the artifacts of a bundle are, and what that cost against the original.

    Attributes:
        model: name of the model.
        checkpoint, checkpoint_sha256: the weights that the bundle was made from.
        data: what was measured on.
        reference: what the differences are to; None where nothing could stand for it.
        rows: one for each artifact, runtime and precision.
        resamples, confidence: of the intervals.
        recorded: the training's own mAP beside that of this data set; None if none is recorded
            or nothing could be held against it.
        tools: versions of what took part.
        conf: score from which on a detection is shown in `hard_images`.
        hard_images: where a model departs most from the reference, or both are most wrong.
        warnings: anything else that a reader should know.
    """

    model: str
    checkpoint: str
    checkpoint_sha256: str
    data: DataSetFacts
    reference: Reference | None
    rows: tuple[AccuracyRow, ...]
    resamples: int
    confidence: float
    recorded: Recorded | None
    tools: dict[str, str]
    conf: float = 0.0
    hard_images: tuple[HardImage, ...] = ()
    warnings: tuple[str, ...] = ()
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"this version reads accuracy schema {SCHEMA}, got {self.schema}")

    @property
    def passed(self) -> bool:
        """Whether something was judged and nothing that ran failed."""
        states = {row.status for row in self.rows}
        return "passed" in states and "failed" not in states

    @property
    def unjudged(self) -> bool:
        """Whether something was measured, but there was nothing to hold it against but itself."""
        states = {row.status for row in self.rows}
        return "reference" in states and not states & {"passed", "failed"}

    def summary(self) -> str:
        """The verdict in one sentence."""
        passed, failed, skipped = (
            sum(row.status == status for row in self.rows)
            for status in ("passed", "failed", "skipped")
        )
        tail = f"; {skipped} skipped" if skipped else ""
        if self.unjudged:
            return f"Accuracy measured, not judged: nothing to compare with it{tail}"
        if not passed + failed:
            return f"Accuracy failed: nothing could be run on this machine{tail}"
        verdict = "passed" if self.passed else "failed"
        return f"Accuracy {verdict}: {passed} of {passed + failed} runs within their gates{tail}"

    def check(self) -> None:
        """Raise unless the report is passed.

        Raises:
            GateError: it is not; the message gives each reason.
        """
        if self.passed:
            return
        reasons = [
            f"{row.artifact} on {row.runtime}: {'; '.join(row.reasons)}"
            for row in self.rows
            if row.status == "failed"
        ]
        raise GateError(
            self.summary(),
            got="\n    ".join(["", *reasons]) if reasons else "nothing that could be judged",
            fix="Compare stage by stage with: ghost-deploy parity CHECKPOINT BUNDLE"
            if reasons
            else "Name what the bundle was made from: --checkpoint FILE",
        )

    def thin(self) -> AccuracyReport:
        """The same without curves and pictures: what a bundle keeps."""
        reference = self.reference and msgspec.structs.replace(
            self.reference, accuracy=_without_curves(self.reference.accuracy)
        )
        rows = tuple(
            msgspec.structs.replace(row, accuracy=row.accuracy and _without_curves(row.accuracy))
            for row in self.rows
        )
        return msgspec.structs.replace(self, reference=reference, rows=rows, hard_images=())

    def to_document(self) -> dict[str, Any]:
        """The JSON form as plain values; of `thin()` for a bundle.

        `passed` is the verdict: None where nothing was judged.
        """
        document: dict[str, Any] = msgspec.to_builtins(self)
        return {"passed": None if self.unjudged else self.passed, **document}

    @classmethod
    def from_document(
        cls, document: dict[str, Any], *, where: str = "the report"
    ) -> AccuracyReport:
        """Read what `to_document` wrote.

        Raises:
            SpecError: unknown keys, another schema, or values of the wrong type.
        """
        plain = {key: value for key, value in document.items() if key != "passed"}
        return decode_json(msgspec.json.encode(plain), cls, where=where)


def _without_curves(accuracy: Accuracy) -> Accuracy:
    classes = tuple(msgspec.structs.replace(each, curve=()) for each in accuracy.classes)
    return msgspec.structs.replace(accuracy, classes=classes)
