"""Put int8 artifacts into a bundle."""

from __future__ import annotations

from collections.abc import Sequence

from ghost_deploy.api.common import AnyPath, open_bundle, refuse_replaced
from ghost_deploy.api.gates import require_int8
from ghost_deploy.api.int8_artifacts import Calibration, add_int8, read_int8_inputs
from ghost_deploy.api.sign import is_signed, say_what_became
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import BundleError, UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.base import RuntimeOptions

_FORMATS = ("onnx", "openvino", "ncnn")


def calibrate(
    bundle: AnyPath | Bundle,
    calib: AnyPath | Sequence[AnyPath] | Calibration,
    *,
    formats: Sequence[str] = (),
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Make int8 artifacts of a bundle's fp32 ONNX file and put them into the bundle.

    All int8 artifacts of a bundle come from one calibration: with `overwrite` those that it has
    are replaced, engines too.

    Args:
        bundle: its folder, or what `export` returned. It is replaced as a whole at the end.
        calib: the images, or a `Calibration` that says more.
        formats: `onnx`, `openvino`, `ncnn`; those that the bundle has when none is named.
        device, threads, allow_fallback: of the runtimes that judge, as in `load`.
        overwrite: replace the int8 artifacts that the bundle has.
        progress: called at each step.

    Returns:
        The bundle; `bundle.evidence.int8` is the report.

    Raises:
        BundleError: it is damaged, or has no fp32 ONNX file.
        GateError: an int8 artifact loses too much. The error carries the bundle, which holds the
            artifact with that verdict, and `load` refuses it.
        InputError, ImageError, UsageError: images, labels or options cannot be used.
        UnavailableError: a package is missing.
    """
    opened = open_bundle(bundle)
    chosen = _formats(opened, formats)
    if opened.spec.head.embedded_nms:
        raise UsageError(
            f"{opened.path} has NMS inside its graphs; int8 graphs are built before it is added",
            fix="Export again with --int8 --calib, and --nms where it is wanted",
        )
    old = [artifact.id for artifact in opened.artifacts if artifact.precision == "int8"]
    refuse_replaced(opened, old, "calibrate", overwrite=overwrite)
    _require_graph(opened)
    progress = progress or silent
    inputs = read_int8_inputs(calib, chosen, progress)
    options = RuntimeOptions(device=device, threads=threads, allow_fallback=allow_fallback)
    was_signed = is_signed(opened.path)
    with BundleWriter(opened.path, overwrite=True) as writer:
        writer.adopt(opened, without=old)
        add_int8(writer, opened, inputs, chosen, options, progress).save()
        made = writer.finish()
    say_what_became(made, was_signed)
    require_int8(made)
    return made


def _require_graph(bundle: Bundle) -> None:
    """Require the whole fp32 ONNX file, which int8 artifacts are made of.

    Raises:
        BundleError: there is none, or it was changed.
    """
    if not any((each.format, each.precision) == ("onnx", "fp32") for each in bundle.artifacts):
        raise BundleError(
            f"{bundle.path} has no fp32 ONNX file, which int8 files are made of",
            got=", ".join(each.id for each in bundle.artifacts) or "none",
            fix="Export it again with --onnx --fp32 beside its other formats, or with --int8 "
            "--calib FOLDER, which makes all at once",
        )
    bundle.verified_path(bundle.artifact("onnx", "fp32"))


def _formats(bundle: Bundle, requested: Sequence[str]) -> tuple[str, ...]:
    """The formats to make: those that were named, else those that the bundle has.

    Raises:
        UsageError: there is no int8 in a format that was named.
    """
    unknown = [name for name in requested if name not in _FORMATS]
    if unknown or isinstance(requested, str):
        raise UsageError(
            "there is no such format of int8 files",
            got=repr(requested) if isinstance(requested, str) else ", ".join(map(str, unknown)),
            expected=f"a list of {', '.join(_FORMATS)}; TensorRT's forms come with onnx",
            fix="Name one of those",
        )
    there = {artifact.format for artifact in bundle.artifacts}
    return tuple(requested) or tuple(name for name in _FORMATS if name in there)
