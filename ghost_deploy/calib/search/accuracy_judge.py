"""How accurate a candidate is: on labels where there are some, else against the float model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import cv2

from ghost_deploy.calib.images.collection import CalibrationSet
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.evidence.int8 import Judged
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.agreement import label_by_model
from ghost_deploy.judge.accuracy.measure import measure
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.runtimes import RuntimeOptions, open_file

__all__ = ["AGREEMENT_IMAGES", "Judge", "Progress", "image_files", "make_judge"]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

AGREEMENT_IMAGES = 150
"""Calibration images that agreement is measured on, spread evenly over the set."""


@dataclass(frozen=True)
class Judge:
    """Measures mAP50-95 in points, 0 to 100.

    Attributes:
        spec: of the model.
        data: what is to be found.
        facts: the same for the report, with the float model's own points.
        options: device and threads.
        progress: told before each image.
    """

    spec: ModelSpec
    data: DataSet
    facts: Judged
    options: RuntimeOptions
    progress: Progress | None = None

    def points(self, runtime: str, path: Path, precision: str = "int8", label: str = "") -> float:
        """The accuracy of a file, whatever runtime it was made for.

        Raises:
            BackendError: the runtime refuses the file, or its numbers are not finite.
            UnavailableError: the runtime is not installed.
        """
        asked = replace(self.options, precision=precision, hint="throughput", any_form=True)
        with Detector(open_file(runtime, path, asked), self.spec) as detector:
            return 100 * measure(detector, self.data, self.progress, label).accuracy.map50_95


def make_judge(
    spec: ModelSpec,
    reference: tuple[str, Path],
    calibration: CalibrationSet,
    scratch: Path,
    *,
    data: DataSet | None = None,
    options: RuntimeOptions | None = None,
    progress: Progress | None = None,
) -> Judge:
    """A judge, and what the float model itself is worth to it.

    Args:
        spec: of the model.
        reference: runtime and file of the fp32 model.
        calibration: where the pictures come from when there are no labels.
        scratch: a folder for frames of videos.
        data: labelled images; without, agreement with the float model is measured.
        options: device and threads.
        progress: told before each image.

    Raises:
        InputError: the classes are not the model's, or there is nothing to find.
        ImageError: an image cannot be read.
    """
    options = options or RuntimeOptions()
    runtime, path = reference
    opened = open_file(runtime, path, replace(options, precision="fp32", hint="throughput"))
    with Detector(opened, spec) as detector:
        if data is not None:
            own = data.for_model(spec.class_names)
        else:
            files = image_files(calibration.subset(AGREEMENT_IMAGES), scratch)
            own = label_by_model(detector, files, progress)
        accuracy = measure(detector, own, progress, "fp32").accuracy
    facts = Judged(
        by="agreement" if data is None else "labels",
        data=f"{data.name} {data.split}".strip() if data else "the calibration images",
        images=len(own.images),
        objects=own.num_boxes,
        protocol=accuracy.protocol,
        reference=100 * accuracy.map50_95,
    )
    return Judge(spec, own, facts, options, progress)


def image_files(calibration: CalibrationSet, scratch: Path) -> list[Path]:
    """Image files of the set; a frame of a video is first written into `scratch`, without loss."""
    files = []
    for source, image in zip(calibration.sources, calibration.images(), strict=True):
        if source.frame is None:
            files.append(source.path)
            continue
        path = scratch / f"{source.digest[:16]}.png"
        if not cv2.imwrite(str(path), image):
            raise ExportError(f"cannot write {path}", fix="Free some space and calibrate again")
        files.append(path)
    return files
