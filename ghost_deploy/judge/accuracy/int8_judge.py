"""Accuracy of int8 files: on labels where there are some, else agreement with the float model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from ghost_deploy.core.evidence.int8 import FileAccuracy, Judged
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.agreement import label_by_model
from ghost_deploy.judge.accuracy.matching import Matches
from ghost_deploy.judge.accuracy.max_drop import MAX_DROP
from ghost_deploy.judge.accuracy.measure import Enough, Measured, measure
from ghost_deploy.judge.accuracy.paired_loss import PairedLoss
from ghost_deploy.judge.datasets.dataset import DataSet
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.cpu_cores import available_cores
from ghost_deploy.runtimes.table import open_file

AGREEMENT_IMAGES = 150
"""Number of calibration images that agreement is measured on by a search."""

QUICK_AGREEMENT_IMAGES = 96
"""The same without a search."""

QUICK_IMAGES = 300
"""Most labelled images that are looked at without a search."""

_MOST_SIDE_BY_SIDE = 4

DEFAULT_DROPS = {"labels": MAX_DROP["int8"], "agreement": 3.0}
"""Points that an int8 artifact may lose by default, by what it is judged by.

Agreement falls faster than accuracy: of two trained Ghost detectors at 416, files that lost about
0.1 points of mAP50-95 or none lost 1.4 to 2.8 of agreement (one 6.3), those that lost 1.2 to 1.5
lost 4.
"""


KEEP_LIMITS = {"labels": 1.0, "agreement": DEFAULT_DROPS["agreement"]}
"""Points: a file for another vendor's runtime whose whole interval of what it loses lies above them
is not kept in a bundle unless the user sets a limit, by what it is judged by."""


@dataclass(frozen=True)
class Int8Judge:
    """Measures mAP50-95 in points, 0 to 100; see `calib.search.protocols.AccuracyJudge`.

    Attributes:
        spec: of the model.
        data: labelled images.
        facts: their summary for the report, with the points of the float model.
        options: device and threads.
        reference: matches of the float model, one item an image.
        early: judge a file on as few images as decide, see `paired_loss`.
        progress: receives each image.
    """

    spec: ModelSpec
    data: DataSet
    facts: Judged
    options: RuntimeOptions
    reference: Sequence[Matches] = field(repr=False)
    early: bool = False
    progress: Progress = silent

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over file names, boxes and classes of the images."""
        return self.data.facts().fingerprint

    @property
    def default_max_drop(self) -> float:
        """Points that an int8 artifact may lose by default."""
        return DEFAULT_DROPS[self.facts.by]

    @property
    def keep_limit(self) -> float:
        """Points beyond which a file that surely loses them is kept on request only."""
        return KEEP_LIMITS[self.facts.by]

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
        return 100 * self._measure(runtime, path, label).accuracy.map50_95

    def accuracy(self, runtime: str, path: Path, max_drop: float, label: str = "") -> FileAccuracy:
        """Accuracy of an int8 file, with the interval of what it loses.

        Args:
            runtime, path, label: as in `points`.
            max_drop: points that may be lost.

        Raises:
            BackendError, UnavailableError: as `points`.
        """
        paired = PairedLoss(self.reference, len(self.spec.class_names))
        enough = partial(paired.decides, max_drop=max_drop) if self.early else None
        measured = self._measure(runtime, path, label, enough)
        loss, images = paired.of(measured.matches), len(measured.matches)
        points = 100 * measured.accuracy.map50_95
        if images < len(self.reference):
            points = self.facts.reference - loss.points
        if not math.isfinite(loss.low):
            return FileAccuracy(points=points, images=images)
        return FileAccuracy(points=points, images=images, low=loss.low, high=loss.high)

    def _measure(
        self, runtime: str, path: Path, label: str, enough: Enough | None = None
    ) -> Measured:
        options = replace(self.options, precision="int8", hint="throughput", any_form=True)
        opened = open_file(runtime, path, options)
        with Detector(opened, _spec_inside(opened, self.spec, path)) as detector:
            threads = _side_by_side(self.options)
            return measure(
                detector, self.data, self.progress, label, enough=enough, threads=threads
            )

    def quiet(self, threads: int | None = None) -> Int8Judge:
        """Returns a picklable copy without progress reporting, with `threads` if given."""
        options = self.options if threads is None else replace(self.options, threads=threads)
        return replace(self, progress=silent, options=options)


def _side_by_side(options: RuntimeOptions) -> int:
    """Images that are judged side by side: post-processing takes as long as an int8 model."""
    if options.device_kind != "cpu":
        return 1
    return min(options.threads or available_cores(), _MOST_SIDE_BY_SIDE)


def _spec_inside(opened: Runtime, spec: ModelSpec, path: Path) -> ModelSpec:
    """`spec` with the input and the outputs that a file says it has, as one that was cut does."""
    text = opened.metadata().get(ModelSpec.Json)
    if text is None:
        return spec
    own = ModelSpec.from_json(text, where=str(path))
    return msgspec.structs.replace(spec, input=own.input, head=own.head)


def int8_judge(
    spec: ModelSpec,
    source: Path,
    data: DataSet | Sequence[Path],
    options: RuntimeOptions,
    progress: Progress = silent,
    *,
    early: bool = False,
) -> Int8Judge:
    """A judge, with the points of the float model.

    Args:
        spec: of the model.
        source: its fp32 ONNX file.
        data: labelled images; or image files, on which agreement with the float model is measured.
        options: device and threads.
        progress: receives each image.
        early: judge on at most `QUICK_IMAGES` labelled images, in an order of chance, and each file
            on as few of them as decide.

    Raises:
        InputError: the classes are not the model's, or no object is labelled or found.
        ImageError: an image cannot be read.
    """
    by: Literal["labels", "agreement"]
    opened = open_file("ort", source, replace(options, precision="fp32", hint="throughput"))
    # Scores that were chosen for a bundle decide nothing here: a chosen precision of 0.95 would
    # leave few of the detections that an int8 file must find again.
    with Detector(opened, spec, spec.thresholds) as detector:
        if isinstance(data, DataSet):
            by, name = "labels", f"{data.name} {data.split}".strip()
            labelled = data.for_model(spec.class_names)
            if early:
                labelled = _by_chance(labelled)
            if len(labelled.images) < len(data.images):
                name += f", {len(labelled.images)} of {len(data.images)} images"
        else:
            by, name = "agreement", "the calibration images"
            labelled = label_by_model(detector, data, progress)
        measured = measure(detector, labelled, progress, "fp32", threads=_side_by_side(options))
    facts = Judged(
        by=by,
        data=name,
        images=len(labelled.images),
        objects=labelled.num_boxes,
        protocol=measured.accuracy.protocol,
        reference=100 * measured.accuracy.map50_95,
    )
    return Int8Judge(spec, labelled, facts, options, measured.matches, early, progress)


def _by_chance(data: DataSet) -> DataSet:
    """At most `QUICK_IMAGES` images in an order of chance, so that the first ones stand for all."""
    order = np.random.default_rng(0).permutation(len(data.images))[:QUICK_IMAGES]
    chosen = replace(data, images=tuple(data.images[index] for index in order))
    return chosen if chosen.num_boxes else data
