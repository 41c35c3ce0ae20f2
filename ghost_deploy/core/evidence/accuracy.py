"""Evidence of accuracy: mAP of artifacts on labelled images."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ghost_deploy.core.evidence.json_document import Document, Part, verdict_sentence
from ghost_deploy.core.evidence.shown_boxes import HardImage
from ghost_deploy.core.evidence.threshold_report import ThresholdReport


class ClassAccuracy(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One class; all figures 0 to 1, None where the data set has no object of it.

    Attributes:
        name: of the class.
        boxes: objects that count.
        ap50_95: average precision, mean over the ten IoU thresholds.
        ap50: at IoU 0.5.
        recall: the largest recall, mean over the ten IoU thresholds.
        curve: precision at IoU 0.5 and recall 0, 0.01, ... 1, rounded to 4 decimals; empty where
            there is no object, and in the evidence that a bundle keeps.
    """

    name: str
    boxes: int
    ap50_95: float | None
    ap50: float | None
    recall: float | None
    curve: tuple[float, ...] = ()


class Accuracy(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accuracy of a detector on labelled images; all figures 0 to 1.

    Attributes:
        protocol: how it was measured, in words.
        images, boxes: number of images and of labelled objects.
        map50_95, map50, map75: COCO's mean average precision over classes with objects.
        recall: COCO's average recall, at most 300 detections an image.
        classes: in the order of the class ids.
    """

    protocol: str
    images: int
    boxes: int
    map50_95: float
    map50: float
    map75: float
    recall: float
    classes: tuple[ClassAccuracy, ...]


class Recorded(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The mAP50-95 that a checkpoint records, and that on this data set.

    Attributes:
        recorded, measured: 0 to 1.
        protocol: how it was measured.
        tolerance: largest difference that agrees, in points (0.01).
        agrees: whether the difference is within the tolerance.
        sentence: the result in words.
    """

    recorded: float
    measured: float
    protocol: str
    tolerance: float
    agrees: bool
    sentence: str


class Interval(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The middle 95 % of the resampled differences, in points of mAP (0.01)."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:+.2f} to {self.high:+.2f}"


class DatasetFacts(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Summary of a data set, without folders of the machine.

    Attributes:
        name: file name of the description.
        form: `yolo` or `coco`.
        split: the part that was used; empty for the COCO form.
        images, negatives: number of images, and of those without any object.
        boxes: objects that count, by class name.
        crowds: regions in which detections count neither as found nor as false.
        fingerprint: sha256 over file names, boxes and classes, in order.
        notes: for the reader, e.g. on labels that were left out.
    """

    name: str
    form: str
    split: str
    images: int
    negatives: int
    boxes: dict[str, int]
    crowds: int
    fingerprint: str
    notes: tuple[str, ...] = ()


class Reference(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The model that the artifacts are compared with.

    Attributes:
        name: e.g. `eager (PyTorch 2.6.0) in fp32`, or the fp32 artifact in its place.
        kind: `checkpoint` for the PyTorch module; `artifact` where no checkpoint was given, so
            that what the fp32 export itself lost is not seen.
        accuracy: its figures.
    """

    name: str
    kind: Literal["checkpoint", "artifact"]
    accuracy: Accuracy


class ClassDelta(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change of the AP of one class; None where there is nothing to compare.

    Attributes:
        delta: AP50-95 less the reference's, points.
        interval: where `delta` lies when images are drawn again.
    """

    delta: float | None
    interval: Interval | None


class AccuracyRow(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One artifact on one runtime in one precision.

    Attributes:
        artifact: its id in the bundle, e.g. `onnx-fp16`.
        sha256: of the file that the runtime opens.
        runtime, precision: of the run, as requested.
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


class AccuracyReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accuracy of the artifacts of a bundle, and their loss against the reference.

    Attributes:
        model: name of the model.
        checkpoint, checkpoint_sha256: the weights that the bundle was exported from.
        data: the labelled images.
        reference: that the artifacts are compared with; None where there is none.
        rows: one for each artifact, runtime and precision.
        resamples, confidence: of the intervals.
        recorded: the mAP of the training beside that of this data set; None if none is recorded
            or there is no reference.
        tools: versions of the packages used.
        conf: score from which on a detection is shown in `hard_images`.
        hard_images: where a model departs most from the reference, or both are most wrong.
        warnings: further notes for the reader.
        thresholds: score thresholds by class, where they were chosen; a bundle keeps them as
            evidence of their own.
    """

    KIND: ClassVar[str] = "accuracy"

    model: str
    checkpoint: str
    checkpoint_sha256: str
    data: DatasetFacts
    reference: Reference | None
    rows: tuple[AccuracyRow, ...]
    resamples: int
    confidence: float
    recorded: Recorded | None
    tools: dict[str, str]
    conf: float = 0.0
    hard_images: tuple[HardImage, ...] = ()
    warnings: tuple[str, ...] = ()
    thresholds: ThresholdReport | None = None

    @property
    def passed(self) -> bool:
        """Whether something was judged and nothing that ran failed."""
        states = {row.status for row in self.rows}
        return "passed" in states and "failed" not in states

    @property
    def unjudged(self) -> bool:
        """Whether something was measured, but there was nothing else to compare it with."""
        states = {row.status for row in self.rows}
        return "reference" in states and not states & {"passed", "failed"}

    @property
    def outcome(self) -> bool | None:
        """Whether everything passed; None where nothing was judged."""
        return None if self.unjudged else self.passed

    def summary(self) -> str:
        """The verdict in one sentence."""
        return verdict_sentence("Accuracy", (row.status for row in self.rows))

    def thin(self) -> AccuracyReport:
        """Returns a copy without curves and images, which a bundle keeps."""
        replace = msgspec.structs.replace
        reference = self.reference and replace(
            self.reference, accuracy=_without_curves(self.reference.accuracy)
        )
        rows = tuple(
            replace(row, accuracy=row.accuracy and _without_curves(row.accuracy))
            for row in self.rows
        )
        return replace(self, reference=reference, rows=rows, hard_images=(), thresholds=None)


def _without_curves(accuracy: Accuracy) -> Accuracy:
    classes = tuple(msgspec.structs.replace(each, curve=()) for each in accuracy.classes)
    return msgspec.structs.replace(accuracy, classes=classes)
