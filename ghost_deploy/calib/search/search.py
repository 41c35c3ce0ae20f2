"""From the float ONNX file of a bundle to its int8 artifacts, each judged before it is kept."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from ghost_deploy.calib.forms import Form
from ghost_deploy.calib.images.collection import CalibrationSet, preprocessing_fingerprint
from ghost_deploy.calib.ranges.statistics import collect_statistics
from ghost_deploy.calib.search.accuracy_judge import Progress, make_judge
from ghost_deploy.calib.search.artifact_writer import Deposit
from ghost_deploy.calib.search.builder import Workshop
from ghost_deploy.calib.search.float_fallback import Search
from ghost_deploy.calib.search.form_pipeline import Line
from ghost_deploy.calib.search.tool_versions import versions
from ghost_deploy.core.bundle import BundleWriter, sha256_of
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.int8 import CalibrationFacts, Int8Report
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.judge.accuracy.max_drop import MAX_DROP
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.runtimes import RuntimeOptions
from ghost_deploy.runtimes.int8_forms import ort_form

__all__ = ["DEFAULT_DROPS", "Request", "add_int8"]

DEFAULT_DROPS = {"labels": MAX_DROP["int8"], "agreement": 3.0}
"""Points that an int8 artifact may lose unless the user says otherwise, by what it is judged by.

Agreement falls faster than accuracy: of two trained Ghost detectors at 416, files that lost about
0.1 points of mAP50-95 or none lost 1.4 to 2.8 of agreement (one 6.3), those that lost 1.2 to 1.5
lost 4.
"""


@dataclass(frozen=True)
class Request:
    """What the user wants of calibration.

    Attributes:
        formats: `onnx` gives the forms of ONNX Runtime and TensorRT, `openvino` its own.
        max_drop: points that may be lost; None takes `DEFAULT_DROPS`, and returns nothing to float
            for it.
        repair: biases of our own graphs may be corrected.
        workers: processes that measure side by side while layers are ranked.
        seed: of the sampling of the calibration set, for the record.
        options: device and threads.
        cache_dir: where statistics are kept between runs; None keeps none.
    """

    formats: tuple[str, ...] = ("onnx", "openvino")
    max_drop: float | None = None
    repair: bool = True
    workers: int = 1
    seed: int = 0
    options: RuntimeOptions = field(default_factory=RuntimeOptions)
    cache_dir: Path | None = None

    @property
    def search(self) -> Search | None:
        """How layers are returned to float; None where none is."""
        if self.max_drop is None:
            return None
        journal = self.cache_dir / "int8" / "measured.jsonl" if self.cache_dir else None
        return Search(self.max_drop, workers=self.workers, journal=journal)

    @property
    def forms(self) -> tuple[Form, ...]:
        """The forms to make."""
        here: Form = "ort-arm" if ort_form() == "ort-arm" else "ort-x86"
        by_format: dict[str, tuple[Form, ...]] = {
            "onnx": (here, "tensorrt"),
            "openvino": ("openvino",),
        }
        return tuple(form for name in self.formats for form in by_format.get(name, ()))


def add_int8(
    writer: BundleWriter,
    source: Path,
    spec: ModelSpec,
    calibration: CalibrationSet,
    request: Request,
    *,
    data: DataSet | None = None,
    progress: Progress | None = None,
) -> Int8Report:
    """Make the int8 artifacts in the writer's folder and record them there.

    Args:
        writer: of the bundle.
        source: the fp32 ONNX file.
        spec: what it carries.
        calibration: the pictures.
        request: what is wanted.
        data: labelled images to judge on; without, agreement with the float model is measured on
            the calibration images.
        progress: told of each step.

    Returns:
        The report; without `speed` and verdict, which need the finished artifacts.

    Raises:
        UsageError: nothing to make for the formats named.
        InputError, ImageError: the model, the pictures or the labels cannot be used.
        ExportError: no recipe of a form worked.
        OSError: the disk refuses; leaving the writer's block makes an ExportError of it.
    """
    if not request.forms:
        raise UsageError(
            "no int8 form belongs to these formats",
            got=", ".join(request.formats),
            expected="onnx, openvino",
            fix="Name one of those",
        )
    with tempfile.TemporaryDirectory(dir=writer.folder) as folder:
        scratch = Path(folder)
        judge = make_judge(
            spec,
            ("ort", source),
            calibration,
            scratch,
            data=data,
            options=request.options,
            progress=progress,
        )
        shop = _shop(source, spec, calibration, request, scratch, progress)
        default = DEFAULT_DROPS[judge.facts.by]
        bar = default if request.max_drop is None else request.max_drop
        deposit = Deposit(writer, shop, judge, sha256_of(source), bar)
        line = Line(deposit, request.repair, request.search, progress)
        made = {form: line.make(form) for form in request.forms}
    return Int8Report(
        model=spec.name,
        parent=deposit.parent,
        calibration=_facts(calibration, spec, request.seed),
        judged=judge.facts,
        rows=tuple(row for each in made.values() for row in each.rows),
        trials=tuple(trial for each in made.values() for trial in each.trials),
        sensitivity={
            form: each.sensitivity for form, each in made.items() if each.sensitivity is not None
        },
        tools=versions(),
    )


def _shop(
    source: Path,
    spec: ModelSpec,
    calibration: CalibrationSet,
    request: Request,
    scratch: Path,
    progress: Progress | None,
) -> Workshop:
    threads = request.options.threads
    statistics = collect_statistics(
        source,
        calibration,
        spec.input,
        threads=threads,
        cache_dir=request.cache_dir,
        progress=progress,
    )
    return Workshop(
        source,
        onnx.load(source),
        spec,
        calibration,
        statistics.tensors,
        scratch,
        threads,
        progress,
    )


def _facts(calibration: CalibrationSet, spec: ModelSpec, seed: int) -> CalibrationFacts:
    return CalibrationFacts(
        images=len(calibration),
        fingerprint=calibration.fingerprint,
        preprocessing=preprocessing_fingerprint(spec.input),
        seed=seed,
        skipped=tuple(each.name for each in calibration.skipped),
        duplicates=len(calibration.duplicates),
        notes=calibration.notes,
    )
