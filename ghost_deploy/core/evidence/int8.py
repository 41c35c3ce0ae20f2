"""Evidence of calibration: what int8 artifacts lose and gain."""

from __future__ import annotations

from typing import ClassVar, Literal

from ghost_deploy.core.evidence.json_document import Document, Part


class CalibrationFacts(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images that the ranges were taken from.

    Attributes:
        images: number of images used.
        fingerprint: sha256 over their content.
        preprocessing: sha256 over the preprocessing of two fixed images.
        seed: of the sampling.
        skipped: names of images that could not be used.
        duplicates: images left out because another one has the same content.
        notes: for the reader of the report.
    """

    images: int
    fingerprint: str
    preprocessing: str
    seed: int
    skipped: tuple[str, ...] = ()
    duplicates: int = 0
    notes: tuple[str, ...] = ()


class Judged(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What accuracy is measured on.

    Attributes:
        by: `labels`: mAP50-95 on labelled images; `agreement`: the same figure with the float
            model's own detections in place of labels, so that the float model has 100 points.
        data: the images, in words.
        images: how many.
        objects: labelled objects, or detections of the float model.
        protocol: of the figure.
        reference: points of the float model, 0 to 100.
    """

    by: Literal["labels", "agreement"]
    data: str
    images: int
    objects: int
    protocol: str
    reference: float


class FileAccuracy(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accuracy of an int8 file.

    Attributes:
        points: mAP50-95, 0 to 100. Of a file that was judged on a part of the images, the points of
            the float model minus what was lost on that part.
        images: number of images that it was judged on.
        low, high: 95 per cent interval of the points lost, by drawing the images again for both
            models; None where it is not known.
    """

    points: float
    images: int
    low: float | None = None
    high: float | None = None


class Executed(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Multiply-adds of one run of batch 1, by the arithmetic that did them.

    Attributes:
        runtime: `ort` or `openvino`.
        version: of the runtime.
        macs: multiply-adds of all convolutions and matrix products, as the kernels do them:
            ONNX Runtime's float kernels pad the channels to a multiple of 16.
        int8_macs: those done by int8 kernels.
        kernels: multiply-adds by kernel, e.g. `Conv float` or `brgconv_avx512_i8`.
    """

    runtime: str
    version: str
    macs: int
    int8_macs: int
    kernels: dict[str, int] = {}

    @property
    def share(self) -> float:
        """Share of the multiply-adds done in int8, 0 to 1."""
        return self.int8_macs / self.macs if self.macs else 0.0


class Trial(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recipe of an int8 file that was tried.

    Attributes:
        form: of the file, by runtime.
        recipe: its name.
        points: its accuracy, 0 to 100; None where it failed.
        time: of one run, as a multiple of that of the first one of its form that was timed, side
            by side; None where it was not timed: no runtime here runs that form, or another one
            of equal speed is more accurate.
        int8_share: share of the multiply-adds that ran in int8, 0 to 1; None where no runtime
            here runs that form.
        chosen: whether it became the artifact.
        problem: why it failed.
    """

    form: str
    recipe: str
    points: float | None = None
    time: float | None = None
    int8_share: float | None = None
    chosen: bool = False
    problem: str = ""


class Int8Row(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An int8 artifact.

    Attributes:
        artifact, sha256: id in the bundle, and hash of its file.
        form: of the file, by runtime.
        judged_on: the runtime that its accuracy was measured with; empty where none here can.
        recipe: how it was built.
        status: `passed`, `failed` (it loses more than `max_drop`) or `unjudged`.
        points: its accuracy, 0 to 100.
        drop: points lost against the float model.
        max_drop: points that it may lose.
        drop_low, drop_high: 95 per cent interval of the points lost; None where it is not known.
        images: number of images that it was judged on; None where all of `Int8Report.judged`.
        planned_share: share of the multiply-adds, 0 to 1, that were meant to be int8.
        executed: the arithmetic that ran, where a runtime here runs the form.
        kept_float: nodes that were returned to float for the sake of accuracy.
        notes: for the user.
        simulated: it was judged on a simulator of the vendor, not on the device itself.
        kept: the bundle has its file; one that surely loses too much may be left out.
    """

    artifact: str
    sha256: str
    form: str
    judged_on: str
    recipe: str
    status: Literal["passed", "failed", "unjudged"]
    points: float | None
    drop: float | None
    max_drop: float
    drop_low: float | None = None
    drop_high: float | None = None
    images: int | None = None
    planned_share: float | None = None
    executed: Executed | None = None
    kept_float: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    simulated: bool = False
    kept: bool = True


class SpeedRow(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time of one run of the model alone, on this machine.

    Attributes:
        artifact, runtime, precision: what ran.
        p50_ms: median in milliseconds.
        over_fastest_float: multiple of the fastest float row's time, taken round by round.
        low, high: between which half of the rounds lie.
        over_fp32: the same against the fp32 row of the same runtime; None where there is none.
    """

    artifact: str
    runtime: str
    precision: str
    p50_ms: float
    over_fastest_float: float
    low: float
    high: float
    over_fp32: float | None = None


class LayerHarm(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Layers that are int8 or float together, and what int8 costs there.

    Attributes:
        nodes: their names.
        share: of the network's multiply-adds, 0 to 1.
        noise: noise power on the head's outputs when they alone are int8, in per cent.
        harm: points lost when they alone are int8; None where the noise is smaller than elsewhere.
        returned: whether they were returned to float.
        gain: points that their return gains: lost more when they are int8 and the others that were
            returned stay float; None where they were not returned.
        cost_ms: what that adds to the time of a run; None where it was not measured.
    """

    nodes: tuple[str, ...]
    share: float
    noise: float | None
    harm: float | None
    returned: bool = False
    gain: float | None = None
    cost_ms: float | None = None


class CurvePoint(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Accuracy at a share of int8.

    Attributes:
        int8_share: of the multiply-adds, as planned, 0 to 1.
        lost: points.
        returned: how many groups of layers are float.
        chosen: whether the layers of this point were taken.
    """

    int8_share: float
    lost: float
    returned: int
    chosen: bool = False


class Sensitivity(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found where layers were to be returned to float.

    Attributes:
        recipe: without float layers.
        layers: the most harmful first.
        curve: from most to least int8.
        problem: why returning them did not help; empty where it did.
    """

    recipe: str
    layers: tuple[LayerHarm, ...]
    curve: tuple[CurvePoint, ...] = ()
    problem: str = ""


class Int8Report(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The results of a calibration.

    Attributes:
        model: its name.
        parent: sha256 of the fp32 ONNX file that the int8 files were built from.
        calibration: the images that the ranges were taken from.
        judged: what accuracy was measured on.
        rows: the artifacts.
        trials: all recipes that were tried.
        speed: times of all artifacts that run here; empty where they were not requested.
        machine: the processor that `speed` and `executed` were measured on.
        threads: that `speed` was measured with, 0 where the runtimes choose; None where unknown.
        speed_warnings: reasons to doubt `speed`, e.g. that the machine was busy.
        sensitivity: for each form that lost more than it may, the layers that cause it.
        verdict: the recommendation for this machine, in a sentence.
        tools: versions.
        search: whether all variants of each form were tried.
        seconds: how long it took; None where it is not known.
        peak_mib: largest resident memory of the process, MiB; None where it is not known.
    """

    KIND: ClassVar[str] = "int8"

    model: str
    parent: str
    calibration: CalibrationFacts
    judged: Judged
    rows: tuple[Int8Row, ...]
    trials: tuple[Trial, ...] = ()
    speed: tuple[SpeedRow, ...] = ()
    machine: str = ""
    threads: int | None = None
    speed_warnings: tuple[str, ...] = ()
    sensitivity: dict[str, Sensitivity] = {}
    verdict: str = ""
    tools: dict[str, str] = {}
    search: bool = True
    seconds: float | None = None
    peak_mib: float | None = None

    @property
    def passed(self) -> bool:
        """Whether there are int8 artifacts and none of them lost too much."""
        return bool(self.rows) and all(row.status != "failed" for row in self.rows)
