"""Accuracy of int8 files: on labels where there are some, else agreement with the float model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from ghost_deploy.core.evidence.int8 import Judged
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.agreement import label_by_model
from ghost_deploy.judge.accuracy.max_drop import MAX_DROP
from ghost_deploy.judge.accuracy.measure import measure
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file

AGREEMENT_IMAGES = 150
"""Number of calibration images that agreement is measured on."""

DEFAULT_DROPS = {"labels": MAX_DROP["int8"], "agreement": 3.0}
"""Points that an int8 artifact may lose by default, by what it is judged by.

Agreement falls faster than accuracy: of two trained Ghost detectors at 416, files that lost about
0.1 points of mAP50-95 or none lost 1.4 to 2.8 of agreement (one 6.3), those that lost 1.2 to 1.5
lost 4.
"""


@dataclass(frozen=True)
class Int8Judge:
    """Measures mAP50-95 in points, 0 to 100; see `calib.search.protocols.AccuracyJudge`.

    Attributes:
        spec: of the model.
        data: labelled images.
        facts: their summary for the report, with the points of the float model.
        options: device and threads.
        progress: receives each image.
    """

    spec: ModelSpec
    data: DataSet
    facts: Judged
    options: RuntimeOptions
    progress: Progress = silent

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over file names, boxes and classes of the images."""
        return self.data.facts().fingerprint

    @property
    def default_max_drop(self) -> float:
        """Points that an int8 artifact may lose by default."""
        return DEFAULT_DROPS[self.facts.by]

    def points(self, runtime: str, path: Path, label: str = "") -> float:
        """mAP50-95 of an int8 file in points, whatever runtime it was made for.

        Args:
            runtime: name of the runtime that runs it.
            path: of the file.
            label: for progress.

        Raises:
            BackendError: the runtime cannot run the file, or its results are not finite.
            UnavailableError: the runtime is not installed.
        """
        options = replace(self.options, precision="int8", hint="throughput", any_form=True)
        with Detector(open_file(runtime, path, options), self.spec) as detector:
            return 100 * measure(detector, self.data, self.progress, label).accuracy.map50_95

    def quiet(self, threads: int | None = None) -> Int8Judge:
        """Returns a picklable copy without progress reporting, with `threads` if given."""
        options = self.options if threads is None else replace(self.options, threads=threads)
        return replace(self, progress=silent, options=options)


def int8_judge(
    spec: ModelSpec,
    source: Path,
    data: DataSet | Sequence[Path],
    options: RuntimeOptions,
    progress: Progress = silent,
) -> Int8Judge:
    """A judge, with the points of the float model.

    Args:
        spec: of the model.
        source: its fp32 ONNX file.
        data: labelled images; or image files, on which agreement with the float model is measured.
        options: device and threads.
        progress: receives each image.

    Raises:
        InputError: the classes are not the model's, or no object is labelled or found.
        ImageError: an image cannot be read.
    """
    by: Literal["labels", "agreement"]
    opened = open_file("ort", source, replace(options, precision="fp32", hint="throughput"))
    with Detector(opened, spec) as detector:
        if isinstance(data, DataSet):
            by, name = "labels", f"{data.name} {data.split}".strip()
            labelled = data.for_model(spec.class_names)
        else:
            by, name = "agreement", "the calibration images"
            labelled = label_by_model(detector, data, progress)
        accuracy = measure(detector, labelled, progress, "fp32").accuracy
    facts = Judged(
        by=by,
        data=name,
        images=len(labelled.images),
        objects=labelled.num_boxes,
        protocol=accuracy.protocol,
        reference=100 * accuracy.map50_95,
    )
    return Int8Judge(spec, labelled, facts, options, progress)
