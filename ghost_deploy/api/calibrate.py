"""Put int8 artifacts into a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.api.common import AnyPath, Progress, cache_dir, require
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import GateError, UsageError
from ghost_deploy.runtimes import RuntimeOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ghost_deploy.calib.images.collection import CalibrationSet
    from ghost_deploy.core.evidence.int8 import Int8Report
    from ghost_deploy.judge.datasets.dataset import DataSet

__all__ = ["Calibration", "Inputs", "calibrate", "check_int8", "int8_into", "open_inputs"]


_FORMATS = ("onnx", "openvino")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How int8 artifacts are made.

    Attributes:
        source: pictures to take ranges from: a folder, a glob, a list in a text file, a video, a
            data set's data.yaml, or several of them. No labels are needed.
        count: pictures to use at most.
        seed: of the choice among more.
        diverse: choose pictures that differ, instead of at random.
        allow_small: accept fewer pictures than are known to be enough.
        data: labelled images to judge on, `data.yaml` or a COCO `.json`; without, agreement with
            the float model is measured on the calibration pictures.
        split: the part of `data`.
        max_drop: points of mAP50-95 that may be lost; layers are returned to float until that
            holds. None allows 0.5, without labels 3 points of agreement, and returns none.
        repair: try corrections of our own graphs where they lose much.
        workers: processes that measure side by side while layers are ranked for `max_drop`. More
            than one needs a main module that may be imported: `if __name__ == "__main__"`.
        speed: time the result beside the float artifacts.
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
    speed: bool = True


def calibrate(
    bundle: AnyPath | Bundle,
    calib: AnyPath | Sequence[AnyPath] | Calibration,
    *,
    formats: Sequence[str] = (),
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Make int8 artifacts of a bundle's fp32 ONNX file and put them into the bundle.

    All int8 artifacts that are there are replaced, engines too: those of a bundle come from one
    calibration.

    Args:
        bundle: its folder, or what `export` returned. It is replaced as a whole at the end.
        calib: the pictures, or a `Calibration` that says more.
        formats: `onnx`, `openvino`; those that the bundle has when none is named.
        device, threads, allow_fallback: of the runtimes that judge, as in `load`.
        progress: told what is being done.

    Returns:
        The bundle, with the int8 report among its evidence.

    Raises:
        BundleError: it is damaged, or has no fp32 ONNX file.
        GateError: an int8 artifact loses too much. The bundle holds it nevertheless, with that
            verdict, and `load` refuses it.
        InputError, ImageError, UsageError: pictures, labels or options cannot be used.
        UnavailableError: a package is missing.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.read(bundle)
    wanted = calib if isinstance(calib, Calibration) else Calibration(source=calib)
    chosen = _formats(opened, formats)
    source = opened.verified_path(opened.artifact("onnx", "fp32"))
    inputs = open_inputs(wanted, chosen, progress)
    with BundleWriter(opened.path, overwrite=True) as writer:
        writer.adopt(opened, without=[a.id for a in opened.artifacts if a.precision == "int8"])
        report, draft = int8_into(
            writer,
            source,
            opened,
            inputs,
            wanted,
            formats=chosen,
            options=RuntimeOptions(device=device, threads=threads, allow_fallback=allow_fallback),
            progress=progress,
        )
        draft.save()
        result = writer.finish()
    check_int8(report, result)
    return result


@dataclass(frozen=True)
class Inputs:
    """What was read before any work is done."""

    pictures: CalibrationSet
    data: DataSet | None


def open_inputs(wanted: Calibration, formats: Sequence[str], progress: Progress | None) -> Inputs:
    """Read the pictures and the labels, so that a mistake in either costs no time.

    Args:
        wanted: what is asked for.
        formats: of the int8 artifacts.
        progress: told of every picture.

    Raises:
        InputError, ImageError, UsageError: one of the two cannot be used.
        MissingExtraError: a package is missing.
    """
    needed = ("onnx", "onnxruntime", "pycocotools", *(f for f in formats if f == "openvino"))
    for package in needed:
        require(package, "int8")
    from ghost_deploy.calib.images.collection import collect_images
    from ghost_deploy.judge.datasets.opening import open_dataset

    data = None if wanted.data is None else open_dataset(wanted.data, split=wanted.split)
    pictures = collect_images(
        wanted.source,
        count=wanted.count,
        seed=wanted.seed,
        diverse=wanted.diverse,
        allow_small=wanted.allow_small,
        progress=progress,
    )
    return Inputs(pictures, data)


def int8_into(
    writer: BundleWriter,
    source: Path,
    bundle: Bundle,
    inputs: Inputs,
    wanted: Calibration,
    *,
    formats: Sequence[str],
    options: RuntimeOptions,
    progress: Progress | None,
) -> tuple[Int8Report, Bundle]:
    """Make the int8 artifacts in the writer's folder; see `make_int8`."""
    from ghost_deploy.calib.search.finish import make_int8
    from ghost_deploy.calib.search.search import Request

    request = Request(
        formats=tuple(formats),
        max_drop=wanted.max_drop,
        repair=wanted.repair,
        workers=wanted.workers,
        seed=wanted.seed,
        options=options,
        cache_dir=cache_dir(),
    )
    return make_int8(
        writer,
        source,
        bundle.spec,
        bundle.document.source,
        inputs.pictures,
        request,
        data=inputs.data,
        speed=wanted.speed,
        evidence=bundle.evidence,
        progress=progress,
    )


def check_int8(report: Int8Report, bundle: Bundle) -> None:
    """Raise GateError if an int8 artifact loses more than it may."""
    failed = [row for row in report.rows if row.status == "failed"]
    if failed:
        raise GateError(
            f"{bundle.path} was written, but {failed[0].artifact} loses too much",
            got=f"{failed[0].drop:.2f} points, at most {failed[0].max_drop:g} allowed",
            fix="Allow more with --max-drop, which also returns layers to float, give more "
            "pictures, or use fp16",
        )


def _formats(bundle: Bundle, asked: Sequence[str]) -> tuple[str, ...]:
    """The formats to make: those that were named, else those that the bundle has.

    Raises:
        UsageError: there is no int8 in a format that was named.
    """
    unknown = [name for name in asked if name not in _FORMATS]
    if unknown or isinstance(asked, str):
        raise UsageError(
            "there is no such format of int8 files",
            got=repr(asked) if isinstance(asked, str) else ", ".join(map(str, unknown)),
            expected=f"a list of {', '.join(_FORMATS)}; TensorRT's forms come with onnx",
            fix="Name one of those",
        )
    there = {artifact.format for artifact in bundle.artifacts}
    return tuple(asked) or tuple(name for name in _FORMATS if name in there)
