"""Make a bundle of a checkpoint, and compare the two."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy._version import __version__
from ghost_deploy.api.calibrate import Calibration
from ghost_deploy.api.common import AnyPath, Images, Progress, find_images, load_checkpoint
from ghost_deploy.api.embedded_nms import needs_plugin, put_nms
from ghost_deploy.api.engines import add_engines, engine_precisions, without_engines
from ghost_deploy.api.int8_export import Int8Export
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import GateError, UsageError
from ghost_deploy.runtimes import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.parity import ParityReport

__all__ = ["export", "parity"]


def export(
    checkpoint: AnyPath,
    out: AnyPath,
    formats: Sequence[str] = ("onnx", "openvino"),
    precisions: Sequence[str] = ("fp32",),
    imgsz: int | tuple[int, int] | None = None,
    images: Images = None,
    calib: AnyPath | Calibration | None = None,
    *,
    dynamic: bool = False,
    one2one: bool = False,
    nms: bool = False,
    embed_preprocess: bool = False,
    modules: Sequence[AnyPath] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Make a bundle of a checkpoint and prove it against the PyTorch module.

    Args:
        checkpoint: an Ultralytics `.pt`, or our `.safetensors`; none of its code is run.
        out: folder of the bundle.
        formats: `onnx`, `openvino`, `tensorrt`. TensorRT engines are built on this machine's GPU
            from the ONNX graphs, which are then part of the bundle too.
        precisions: `fp32`, `fp16`, `int8`. With `int8` there are fp32 artifacts too: it is made
            from them, and judged beside them.
        imgsz: input side, or (height, width), in pixels, multiples of the model's stride; by
            default what the checkpoint was trained at, 640 if it does not say.
        images: what to compare on: a folder, file or glob, or several; without any, demo scenes
            are used, which is weak evidence and recorded as such.
        calib: images for int8, no labels needed; a `Calibration` says more.
        dynamic: accept batches of 1 to 16, and half to twice the size.
        one2one: of a head with two branches, as YOLOv10's, export the one that needs no NMS; by
            default the other, which is more accurate and what Ultralytics uses since 8.4.142.
        nms: final detections out of the graph: by a one2one branch where the head has one, else
            by TensorRT's plugin, for `tensorrt` alone.
        embed_preprocess: the graph takes the letterboxed image as uint8 pixels, (B, H, W, 3)
            BGR, and turns it into numbers itself: a quarter of the bytes to move.
        modules: Python files with classes that the checkpoint names. They are run.
        overwrite: replace a bundle that is there.
        progress: told what is being done.

    Returns:
        The bundle, with the parity report among its evidence.

    Raises:
        GateError: an artifact is further from the checkpoint than its precision allows. The
            bundle is there nevertheless, with that verdict, and `load` refuses the artifact.
        CheckpointError, ImageError: an input cannot be used. Nothing is written.
        UsageError: an option does not fit the checkpoint. Nothing is written.
        ExportError: a step failed. Nothing is written.
        UnavailableError: a package is missing; for an engine also a GPU.
    """
    quantized = Int8Export.planned(formats, precisions, calib, progress)
    pictures = find_images(images)
    tell = progress or _silent
    engines = engine_precisions(formats, precisions)
    with BundleWriter(out, overwrite=overwrite) as writer:
        tell("loading", 0, 0)
        loaded = load_checkpoint(checkpoint, modules, one2one=one2one)
        if nms and loaded.net.head.has_one2one:
            loaded = load_checkpoint(checkpoint, modules, one2one=True)
        plugin = nms and needs_plugin(loaded, formats)
        quantized.check_model(loaded.spec, plugin=plugin)
        from ghost_deploy.export.artifacts import export_artifacts
        from ghost_deploy.export.plan import Dynamic
        from ghost_deploy.judge.parity.prove import prove
        from ghost_deploy.judge.parity.store_reference import store_reference

        spec, _ = export_artifacts(
            loaded,
            writer,
            formats=quantized.float_formats(without_engines(formats)),
            precisions=quantized.float_precisions(precisions),
            size_hw=_size_hw(imgsz),
            dynamic=Dynamic() if dynamic else None,
            embed_preprocess=embed_preprocess,
            progress=lambda line: tell(line, 0, 0),
        )
        draft = writer.draft(spec, loaded.source, f"ghost-deploy {__version__}")
        proved, report = prove(loaded, draft, pictures, progress=progress)
        coarse = any(row.coarse for row in report.rows)
        proved = store_reference(loaded, proved, pictures, exact=coarse)
        proved = quantized.add_to(writer, proved, progress)
        if plugin:
            proved = put_nms(writer, proved)
        if engines:
            proved, report = add_engines(writer, proved, engines, beside=Path(out), tell=tell)
        proved.save()
        bundle = writer.finish()
    _check_gate(report, bundle)
    quantized.check(bundle)
    return bundle


def parity(
    checkpoint: AnyPath,
    bundle: AnyPath | Bundle,
    images: Images = None,
    *,
    modules: Sequence[AnyPath] = (),
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    progress: Progress | None = None,
) -> ParityReport:
    """Compare every artifact of a bundle with the PyTorch module, number by number.

    Args:
        checkpoint: what the bundle was made from.
        bundle: its folder, or what `export` returned. It is not changed.
        images, modules, progress: as in `export`.
        device, threads, allow_fallback: as in `load`.

    Returns:
        The report; `report.passed` is the verdict.

    Raises:
        CheckpointError, BundleError, ImageError: an input cannot be used.
        UnavailableError: a package or a device is missing.
    """
    pictures = find_images(images)
    opened = bundle if isinstance(bundle, Bundle) else Bundle.read(bundle)
    loaded = load_checkpoint(checkpoint, modules)
    from ghost_deploy.judge.parity.prove import run_parity

    options = RuntimeOptions(device=device, threads=threads, allow_fallback=allow_fallback)
    return run_parity(loaded, opened, pictures, options=options, progress=progress)


def _size_hw(imgsz: int | tuple[int, int] | None) -> tuple[int, int] | None:
    sides = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    if sides is None:
        return None
    if not isinstance(sides, tuple | list) or [type(side) for side in sides] != [int, int]:
        raise UsageError(
            "imgsz is no image size",
            got=repr(imgsz),
            expected="a side or (height, width), whole pixels",
            fix="Give one of those",
        )
    return sides[0], sides[1]


def _check_gate(report: ParityReport, bundle: Bundle) -> None:
    if report.passed:
        return
    failed = [row for row in report.rows if row.status == "failed"]
    raise GateError(
        f"{bundle.path} was written, but it is not proved. {report.summary()}",
        got=f"{failed[0].artifact} on {failed[0].runtime}: {'; '.join(failed[0].reasons)}"
        if failed
        else None,
        fix="See where it comes from: ghost-deploy parity CHECKPOINT BUNDLE",
    )


def _silent(what: str, done: int, total: int) -> None:
    """No progress was asked for."""
