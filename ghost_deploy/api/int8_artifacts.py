"""Int8 artifacts in a bundle that is being written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.common import AnyPath, cache_dir, require
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.export.targets import Target, check_devices, require_tools
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.dot_product import read_dot_product

if TYPE_CHECKING:
    from ghost_deploy.calib import CalibrationSet, Int8Request
    from ghost_deploy.judge.datasets.dataset import DataSet
    from ghost_deploy.processing.broken_images import OnBroken

_COMPARED = 32


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How int8 artifacts are made.

    Attributes:
        source: images to take ranges from: a folder, a glob, a list in a text file, a video, a
            data set's data.yaml, or several of them. No labels are needed.
        count: images to use at most.
        seed: of the choice among more.
        diverse: choose images that differ, instead of at random.
        allow_small: accept fewer images than are known to be enough.
        data: labelled images to judge on, `data.yaml` or a COCO `.json`; without, agreement with
            the float model is measured on the calibration images.
        split: part of `data`.
        max_drop: points of mAP50-95 that may be lost; layers are returned to float until that
            holds. None allows 0.5, without labels 3 points of agreement, and returns none.
        repair: try corrections of our own graphs where they lose much.
        workers: processes that measure side by side while layers are ranked for `max_drop`. More
            than one needs a main module that may be imported: `if __name__ == "__main__"`.
        search: try all variants of each int8 form, which takes minutes, and keep the fastest that
            is accurate enough; without it, the default of each form is built from statistics that
            are collected once, and judged on as few images as decide.
        speed: time the result beside the float artifacts.
        devices: processors to make the artifacts for: `x86`, `x86-vnni`, `arm64`; this machine's
            family when empty.
        on_broken: what is done with images that cannot be read: `skip` leaves them out and the
            report counts them, `stop` raises before anything is made.
    """

    source: AnyPath | Sequence[AnyPath]
    count: int = 300
    seed: int = 0
    diverse: bool = False
    allow_small: bool = False
    data: AnyPath | None = None
    split: str = "val"
    max_drop: float | None = None
    repair: bool = True
    workers: int = 1
    search: bool = False
    speed: bool = True
    devices: Sequence[str] = ()
    on_broken: OnBroken = "skip"


@dataclass(frozen=True)
class Int8Inputs:
    """The inputs of int8 artifacts, read before any work is done.

    Attributes:
        calibration: how they are made.
        images: to take ranges from.
        data: to judge on; None judges by agreement with the float model.
    """

    calibration: Calibration
    images: CalibrationSet
    data: DataSet | None

    @property
    def files(self) -> list[Path]:
        """Some of the images that are files, to compare on where no others are named."""
        found = [each.path for each in self.images.sources if each.frame is None]
        return found[:_COMPARED]


def read_int8_inputs(
    calib: AnyPath | Sequence[AnyPath] | Calibration,
    formats: Sequence[str],
    progress: Progress = silent,
) -> Int8Inputs:
    """Read images and labels, so that a mistake in either costs no time.

    Args:
        calib: the images, or a `Calibration`.
        formats: of the int8 artifacts.
        progress: called for each image.

    Raises:
        InputError, ImageError, UsageError: images or labels cannot be used.
        MissingExtraError: a package is missing.
    """
    for package in ("onnx", "onnxruntime", *(name for name in formats if name == "openvino")):
        require(package, "int8")
    require("pycocotools", "validate")
    if "ncnn" in formats:
        require_tools([Target("ncnn", "int8", ("ncnn", "pnnx"))])
    from ghost_deploy.calib import collect_images
    from ghost_deploy.judge.datasets.open_dataset import open_dataset, readable_data

    how = calib if isinstance(calib, Calibration) else Calibration(source=calib)
    require_judge(check_devices(how.devices))
    data = None if how.data is None else open_dataset(how.data, split=how.split)
    data = data and readable_data(data, how.on_broken, progress)
    images = collect_images(
        how.source,
        count=how.count,
        seed=how.seed,
        diverse=how.diverse,
        allow_small=how.allow_small,
        on_broken=how.on_broken,
        progress=progress,
    )
    return Int8Inputs(how, images, data)


def add_int8(
    writer: BundleWriter,
    bundle: Bundle,
    inputs: Int8Inputs,
    formats: Sequence[str],
    options: RuntimeOptions,
    progress: Progress = silent,
) -> Bundle:
    """Make, judge and time int8 artifacts in a writer's folder.

    Args:
        writer: of the bundle; its float artifacts are recorded already.
        bundle: its draft, or the bundle that the writer has adopted; it has an fp32 ONNX file.
        inputs: images and labels.
        formats: of the artifacts.
        options: of the runtimes that judge.
        progress: called at each step.

    Returns:
        The draft with the artifacts and their report, unsaved.

    Raises:
        BundleError: there is no fp32 ONNX file, or it was changed.
        InputError, ImageError, ExportError: as `calibrate`.
    """
    from ghost_deploy.calib import Int8Request, make_int8
    from ghost_deploy.judge.accuracy.int8_judge import (
        AGREEMENT_IMAGES,
        QUICK_AGREEMENT_IMAGES,
        int8_judge,
    )
    from ghost_deploy.judge.bench.int8_stopwatch import TIMED_IMAGES, Int8Stopwatch
    from ghost_deploy.judge.bench.memory import peak_memory_bytes
    from ghost_deploy.judge.parity.store_reference import (
        CARRIED_FROM,
        ensure_reference,
        store_int8_outputs,
    )

    start = time.monotonic()
    how, images = inputs.calibration, inputs.images
    source = bundle.verified_path(bundle.artifact("onnx", "fp32"))
    request = Int8Request(
        bundle=bundle,
        source=source,
        images=images,
        formats=tuple(formats),
        devices=check_devices(how.devices),
        max_drop=how.max_drop,
        repair=how.repair,
        workers=how.workers,
        search=how.search,
        speed=how.speed,
        seed=how.seed,
        threads=options.threads,
        cache_dir=cache_dir(),
    )
    with tempfile.TemporaryDirectory(dir=writer.folder) as folder:
        count = AGREEMENT_IMAGES if how.search else QUICK_AGREEMENT_IMAGES
        data = inputs.data or images.subset(count).files(Path(folder))
        if not how.search:  # how many files a search makes is not known
            progress = _with_time_left(progress, request, data)
        judge = int8_judge(bundle.spec, source, data, options, progress, early=not how.search)
        timed = images.subset(TIMED_IMAGES).files(Path(folder))
        stopwatch = Int8Stopwatch(timed, options, progress, short=not how.search)
        report, draft = make_int8(writer, request, judge, stopwatch, progress)
        report = msgspec.structs.replace(
            report,
            seconds=round(time.monotonic() - start, 1),
            peak_mib=round(peak_memory_bytes() / 2**20, 1) or None,
        )
        draft = draft.with_evidence(report)
        carried = images.subset(CARRIED_FROM).files(Path(folder))
        draft = ensure_reference(draft, carried, options)
        return store_int8_outputs(draft, options)


def _with_time_left(
    progress: Progress, request: Int8Request, data: DataSet | Sequence[Path]
) -> Progress:
    from ghost_deploy.calib.forms import forms_of
    from ghost_deploy.calib.search.time_left import TimeLeft
    from ghost_deploy.judge.accuracy.int8_judge import QUICK_IMAGES

    judged = len(data) if isinstance(data, Sequence) else min(len(data.images), QUICK_IMAGES)
    return TimeLeft(
        progress,
        images=len(request.images),
        judged=judged,
        forms=forms_of(request.formats, request.devices),
        timed=request.speed,
    )


def require_judge(devices: Sequence[str]) -> None:
    """Require that this processor can judge int8 files for `devices`.

    Raises:
        UsageError: files for x86-vnni overflow on this processor, so that nothing could judge them.
    """
    if "x86-vnni" in devices and read_dot_product().saturates is not False:
        raise UsageError(
            "int8 files for x86-vnni cannot be judged on this processor",
            got="no VNNI",
            fix="Calibrate on a processor with VNNI, or name x86, whose files run there too",
        )
