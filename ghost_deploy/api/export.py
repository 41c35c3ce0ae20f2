"""Make a bundle of a checkpoint and compare the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from ghost_deploy._version import __version__
from ghost_deploy.api.common import COMPARED, AnyPath, Images, find_readable
from ghost_deploy.api.engines import add_engine
from ghost_deploy.api.gates import require_proved
from ghost_deploy.api.int8_artifacts import (
    Calibration,
    Int8Inputs,
    add_int8,
    read_int8_inputs,
)
from ghost_deploy.api.open_checkpoint import ForkOption, OpenedCheckpoint, open_checkpoint
from ghost_deploy.api.rknn_artifacts import RknnFiles, rknn_request
from ghost_deploy.api.sign import is_signed, say_what_became
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.export.artifacts import describe_export, export_artifacts
from ghost_deploy.export.plan import ExportPlan, plan_export
from ghost_deploy.export.targets import check_converters, check_socs
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.processing.broken_images import OnBroken


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
    agnostic: bool = False,
    opset: int = 17,
    embed_preprocess: bool = False,
    names: AnyPath | None = None,
    modules: Sequence[AnyPath] = (),
    fork: AnyPath | None = None,
    fork_unconfined: bool = False,
    litert_python: AnyPath | None = None,
    devices: Sequence[str] = (),
    rknn_python: AnyPath | None = None,
    rknn_layout: Literal["rockchip", "logits"] = "rockchip",
    overwrite: bool = False,
    on_broken: OnBroken = "skip",
    max_images: int | None = COMPARED,
    progress: Progress | None = None,
) -> Bundle:
    """Make a bundle of a checkpoint and prove it against the PyTorch module.

    Args:
        checkpoint: an Ultralytics `.pt`, or our `.safetensors`; none of its code is run.
        out: folder of the bundle.
        formats: `onnx`, `openvino`, `ncnn`, `litert`, `rknn`, `tensorrt`. TensorRT engines are
            built on this machine's GPU from the ONNX graphs, which are then part of the bundle
            too, as the fp32 one is for RKNN files.
        precisions: `fp32`, `fp16`, `int8`. With `int8` there are fp32 artifacts too: it is made
            from them, and judged beside them.
        imgsz: input side, or (height, width), in pixels, multiples of the model's stride; by
            default what the checkpoint was trained at, 640 if it does not say.
        images: what to compare on: a folder, file or glob, or several; without any, images of
            `calib`, else demo scenes, which is weak evidence and recorded as such. Images of the
            kind that it was trained on also decide between readings of the checkpoint, and show
            whether its classes compute what they did in training.
        calib: images for int8, no labels needed, or a `Calibration` that says more.
        dynamic: accept batches of 1 to 16, and half to twice the size.
        one2one: of a head with two branches, as YOLOv10's, export the one that needs no NMS; by
            default the other, which is more accurate and what Ultralytics uses since 8.4.142.
        nms: final detections out of the graph: by a one2one branch where the head has one, else
            by the operator NonMaxSuppression in ONNX and OpenVINO, and by TensorRT's plugin in a
            bundle of `tensorrt` alone.
        agnostic: NMS lets boxes of different classes suppress each other; recorded in the bundle,
            for the host and for every NMS inside a graph.
        opset: of ONNX graphs: 12, 13, 17 or 20; int8 takes 13 or 17.
        embed_preprocess: the graph takes the letterboxed image as uint8 pixels, (B, H, W, 3)
            BGR, and turns it into numbers itself: a quarter of the bytes to move.
        names: a data.yaml whose class names replace those of the checkpoint, which may be lost;
            one for each class, in their order.
        modules: Python files with classes that the checkpoint names. They are run.
        fork: folder or Python file with the code that the checkpoint was trained with. It is run,
            in a process of its own without network that can write nothing. Where a definition of
            ours fits, the result is compared with the fork's; where none does, the fork's network
            is exported and is the reference.
        fork_unconfined: run that code also where the kernel cannot confine it: with the rights of
            the user.
        litert_python: Python of an environment with litert-torch, which makes LiteRT files; by
            default `$GHOST_DEPLOY_LITERT_PYTHON`, else this one.
        devices: the systems on a chip that RKNN files are for, e.g. `rk3588`; those that `calib`
            names are for int8 alone.
        rknn_python: Python of an environment with rknn-toolkit2, which makes and simulates RKNN
            files; by default `$GHOST_DEPLOY_RKNN_PYTHON`, else that of `tools/rknn_env.sh`.
        rknn_layout: outputs of RKNN files: `rockchip`, as Rockchip's examples read them (boxes,
            probabilities and their sum), or `logits`.
        overwrite: replace a bundle that is there.
        on_broken: what is done with `images` that cannot be read, which is known before the export
            starts: `skip` leaves them out and the report counts them, `stop` raises.
        max_images: compare on so many of `images` at most, chosen at random, always the same ones;
            None takes all.
        progress: called at each step.

    Returns:
        The bundle; `bundle.evidence` has the parity report, and with int8 that of calibration.

    Raises:
        GateError: the network is not the one that the checkpoint's recorded statistics describe,
            an artifact is further from it than its precision allows, or int8 loses too much. The
            error carries the bundle, which was written with that verdict, and `load` refuses the
            artifact.
        AmbiguousClassError: several readings fit the checkpoint, and no images decide.
        CheckpointError, ImageError: an input cannot be used. Nothing is written.
        UsageError: an option does not fit the checkpoint. Nothing is written.
        ExportError: a step failed. Nothing is written.
        UnavailableError: a package is missing; for an engine also a GPU.
    """
    progress = progress or silent
    plan = plan_export(formats, precisions, calibrated=calib is not None, opset=opset)
    pythons = _pythons(plan, litert_python, rknn_python, rknn_layout)
    socs = check_socs(devices, plan.others)
    request = rknn_request(socs, plan.rknn, rknn_python, rknn_layout)
    size_hw = _size_hw(imgsz)
    int8 = None if calib is None else read_int8_inputs(calib, plan.int8_formats, progress)
    files, notes = _find(images, on_broken, int8, max_images)
    given = _class_names(names)
    was_signed = is_signed(Path(out))
    with BundleWriter(out, overwrite=overwrite) as writer, ExitStack() as stack:
        progress("loading", 0, 0)
        load = partial(open_checkpoint, stack, one2one=one2one, class_names=given, images=files)
        opened = load(checkpoint, modules, ForkOption(fork, fork_unconfined), progress=progress)
        opened = opened.on_one2one() if nms and opened.has_one2one else opened
        loaded = opened.loaded
        decoder = plan.nms_decoder(loaded.spec, nms, dynamic)
        if int8 and int8.data:
            int8.data.for_model(loaded.spec.class_names)  # before any work is done
        spec = describe_export(
            loaded, size_hw=size_hw, dynamic=dynamic, embedded=embed_preprocess, agnostic=agnostic
        )
        export_artifacts(loaded, spec, plan.graphs, writer, progress, plan.opset, pythons)
        draft = writer.draft(spec, loaded.source, f"ghost-deploy {__version__}")
        prove = partial(_prove, opened, images=files, progress=progress, notes=notes)
        rknn = RknnFiles(stack, writer, request, progress) if request else None
        draft = _prove_and_add(writer, draft, plan, int8, rknn, decoder, prove, progress)
        draft.save()
        bundle = writer.finish()
    say_what_became(bundle, was_signed)
    require_proved(bundle)
    return bundle


def _prove_and_add(
    writer: BundleWriter,
    draft: Bundle,
    plan: ExportPlan,
    int8: Int8Inputs | None,
    rknn: RknnFiles | None,
    decoder: str,
    prove: Callable[..., Bundle],
    progress: Progress,
) -> Bundle:
    """The draft with what is made of its float graphs, proved."""
    draft = rknn.add_float(draft) if rknn else draft
    if int8 or decoder != "nms":
        draft = prove(draft)
    if int8 and plan.int8_formats:
        draft = add_int8(writer, draft, int8, plan.int8_formats, RuntimeOptions(), progress)
    if int8 and rknn:
        draft = rknn.add_int8(draft, int8)
    if decoder:
        draft = _with_nms(writer, draft, decoder, prove)
    return _add_engines(writer, draft, plan.engines, progress)


def _pythons(
    plan: ExportPlan, litert: AnyPath | None, rknn: AnyPath | None, rknn_layout: str
) -> dict[str, str]:
    """The interpreters of the converters that artifacts need, by package; before any work is done.

    Raises:
        UsageError, MissingExtraError: as `check_converters` and `Converter.python`.
    """
    of_converters = {
        "--litert-python": ("litert", litert),
        "--rknn-python": ("rknn", rknn),
        "--rknn-layout": ("rknn", rknn_layout != "rockchip"),
    }
    check_converters(plan.others, of_converters)
    if not any(target.format == "litert" for target in plan.graphs):
        return {}
    from ghost_deploy.export.litert import litert_converter

    converter = litert_converter()
    return {converter.package: converter.python(litert)}


def _find(
    images: Images, on_broken: OnBroken, int8: Int8Inputs | None, most: int | None
) -> tuple[list[Path] | None, Sequence[str]]:
    """The images to compare on, and notes: those named, else some of the calibration images."""
    files, notes = find_readable(images, on_broken, most)
    return files or (int8.files if int8 else None) or None, notes


def _with_nms(
    writer: BundleWriter, draft: Bundle, decoder: str, prove: Callable[..., Bundle]
) -> Bundle:
    """The draft with NMS in its graphs, those that run here proved; int8 was judged without it."""
    if decoder == "efficient-nms":
        from ghost_deploy.export.efficient_nms import append_nms_to_bundle

        return append_nms_to_bundle(writer, draft)
    from ghost_deploy.export.nms_graph import append_graph_nms_to_bundle
    from ghost_deploy.judge.parity.store_reference import store_int8_outputs

    draft = append_graph_nms_to_bundle(writer, draft)
    if draft.evidence.int8 is None:
        return prove(draft)
    return store_int8_outputs(prove(draft, store=False), RuntimeOptions())


def _add_engines(
    writer: BundleWriter, draft: Bundle, precisions: Sequence[str], progress: Progress
) -> Bundle:
    for precision in precisions:
        from ghost_deploy.runtimes.tensorrt.build_job import EngineRequest

        draft = add_engine(writer, draft, EngineRequest(precision), progress=progress)
    return draft


def _prove(
    opened: OpenedCheckpoint,
    draft: Bundle,
    images: list[Path] | None,
    progress: Progress,
    notes: Sequence[str],
    store: bool = True,
) -> Bundle:
    """The draft with its parity report and, with `store`, images for the check of artifacts."""
    from ghost_deploy.judge.parity.comparison_key import comparison_key
    from ghost_deploy.judge.parity.prove import run_parity
    from ghost_deploy.judge.parity.store_reference import store_reference

    report = run_parity(opened.loaded, draft, images, progress=progress, notes=notes)
    report = replace(report, key=comparison_key(draft, images, RuntimeOptions(), notes))
    if not store:
        return draft.with_evidence(report)
    coarse = any(row.coarse for row in report.rows)
    draft = draft.with_evidence(report)
    draft = draft.with_evidence(opened.statistics) if opened.statistics else draft
    judged = None if draft.evidence.fork else opened.report(draft, images, progress)
    draft = draft.with_evidence(judged) if judged else draft
    return store_reference(opened.loaded, draft, images, exact=coarse)


def _class_names(names: AnyPath | None) -> tuple[str, ...]:
    """The class names of a data.yaml; none where there is no file."""
    if names is None:
        return ()
    from ghost_deploy.judge.datasets.yolo import read_class_names

    return read_class_names(Path(names))


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
