"""`ghost-deploy export`: make a bundle of a checkpoint, and prove it."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ghost_deploy.api.common import is_bundle
from ghost_deploy.cli import options
from ghost_deploy.cli.calibration_options import add_calibration_options, calibration_of
from ghost_deploy.cli.console import Console
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.gate_error import GateError

DESCRIPTION = """\
Make a bundle of a checkpoint: one artifact for each format and precision, each compared with the
PyTorch module before the bundle is done. Without a format: ONNX and OpenVINO; without a
precision: fp32 and fp16. The checkpoint's code is never run, unless --fork names it. When an
artifact misses its gate, the bundle is still written, with that verdict inside, and the exit code
is 1.
"""
EXAMPLES = """\
examples:
  ghost-deploy export best.pt -o out/best --images images
  ghost-deploy export best.pt -o out/best --onnx --fp32 --imgsz 480 640
  ghost-deploy export best.pt -o out/best --fp32 --int8 --calib images/train --data data.yaml
  ghost-deploy export best.pt -o out/best --dynamic --overwrite
  ghost-deploy export best.pt -o out/best --rknn --for rk3588 --int8 --calib images/train
  ghost-deploy export out/best --triton models --deepstream deepstream
  ghost-deploy export fork.pt -o out/fork --modules fork_blocks.py
  ghost-deploy export fork.pt -o out/fork --fork checkout_of_the_fork --images images
  ghost-deploy export nameless.pt -o out/best --names data.yaml
  ghost-deploy export best.pt -o out/best --images images --json | jq '.artifacts[].path'
"""

_FORMATS = ("onnx", "openvino", "ncnn", "litert", "rknn")
_DEFAULT_FORMATS = _FORMATS[:2]
_PRECISIONS = ("fp32", "fp16", "int8")
_WHAT = {
    "--onnx": "ONNX",
    "--openvino": "OpenVINO IR",
    "--ncnn": "NCNN, for a Raspberry Pi and other small boards; decoded on the host",
    "--litert": "LiteRT (TensorFlow Lite), fp32",
    "--rknn": "RKNN for the NPUs of Rockchip that --for names, fp16 and int8",
    "--trt": "TensorRT engines for this very machine",
    "--fp32": "as it was trained",
    "--fp16": "a graph of half precision",
    "--int8": "quantized, with ranges from --calib",
}
_PYTHON = "Python of an environment that has {} (default: ${}, then {}this one)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help=".pt or .safetensors file; or a bundle, with --triton or --deepstream alone",
    )
    parser.add_argument("-o", "--out", metavar="BUNDLE", help="folder to make")
    options.add_switches(
        parser,
        {"--overwrite": "replace a bundle that is there, and what --triton or --deepstream wrote"},
    )
    options.add_switches(parser.add_argument_group("what to make"), _WHAT)
    shape = parser.add_argument_group("shape")
    size = "input side, or height and width, in pixels (default: what it was trained at)"
    options.add_value(shape, "--imgsz", ("H", "W"), size, options.positive, nargs="+")
    options.add_switches(
        shape,
        {
            "--dynamic": "accept batches of 1 to 16, half to twice the size",
            "--one2one": "of a head with two branches (YOLOv10) the one that needs no NMS",
            "--nms": "final detections out of the graph",
            "--agnostic": "NMS lets boxes of different classes suppress each other",
            "--embed-preprocess": "the graph takes uint8 BGR pixels (B, H, W, 3) and normalizes "
            "them itself",
        },
    )
    opset = "of ONNX graphs, for other tools' converters: 12, 13, 17 or 20 (default: 17)"
    options.add_value(shape, "--opset", "N", opset, options.positive, default=17)
    others = parser.add_argument_group("inputs and other outputs")
    options.add_images(
        others,
        "of the kind that it was trained on, to prove it: folder, file or glob (default: 32 of "
        "--calib, else demo scenes, weak evidence)",
    )
    options.add_most_images(others)
    options.add_modules(others)
    options.add_fork(others)
    text = "data.yaml whose class names replace those of the checkpoint, which may be lost"
    options.add_value(others, "--names", "FILE", text)
    _add_converters(parser)
    options.add_value(others, "--triton", "DIR", "also write a Triton model repository")
    options.add_value(others, "--deepstream", "DIR", "also write a folder for DeepStream")
    version = (
        "TensorRT of the device, e.g. 10.3.0, for the calibration cache of --deepstream "
        "(default: one file for each that DeepStream comes with)"
    )
    options.add_value(others, "--trt-version", "V", version, default="")
    options.add_trust(others)
    add_calibration_options(parser, required=False)
    options.add_image_limits(parser)
    options.add_json(parser)


def _add_converters(parser: argparse.ArgumentParser) -> None:
    """Options of vendors' converters, which may be in other environments."""
    group = parser.add_argument_group("converters")
    litert = _PYTHON.format("litert-torch", "GHOST_DEPLOY_LITERT_PYTHON", "")
    made = "that of tools/rknn_env.sh, then "
    rknn = _PYTHON.format("rknn-toolkit2", "GHOST_DEPLOY_RKNN_PYTHON", made)
    options.add_value(group, "--litert-python", "PATH", litert)
    options.add_value(group, "--rknn-python", "PATH", rknn)
    text = (
        "outputs of RKNN files: rockchip, as its examples read them, or logits (default: rockchip)"
    )
    layouts = ("rockchip", "logits")
    options.add_value(group, "--rknn-layout", "NAME", text, choices=layouts, default="rockchip")


def run(args: argparse.Namespace, console: Console) -> int:
    """Export, prove and print."""
    from ghost_deploy import api

    if args.deepstream:
        from ghost_deploy.export.integrations.deepstream_folder import require_free

        require_free(Path(args.deepstream), overwrite=args.overwrite)  # before minutes of work
    if not args.out:
        found = Path(args.checkpoint)
        if not (is_bundle(found) and (args.triton or args.deepstream)):
            raise UsageError(
                "no folder for the bundle is named", fix="Add -o BUNDLE, the folder to make"
            )
        bundle = Bundle.read(found)
        _integrate(bundle, args, console)
        if args.json:
            console.document(bundle.document)
        return 0
    _refuse_models_there(args)
    try:
        with console.steps() as progress:
            bundle = api.export(
                args.checkpoint,
                args.out,
                _formats(args),
                _named(args, _PRECISIONS) or _PRECISIONS[:2],
                options.image_size(args.imgsz),
                args.images,
                calibration_of(args),
                dynamic=args.dynamic,
                one2one=args.one2one,
                nms=args.nms,
                agnostic=args.agnostic,
                opset=args.opset,
                embed_preprocess=args.embed_preprocess,
                names=args.names,
                modules=args.modules,
                fork=args.fork,
                fork_unconfined=args.fork_unconfined,
                litert_python=args.litert_python,
                devices=args.devices,
                rknn_python=args.rknn_python,
                rknn_layout=args.rknn_layout,
                overwrite=args.overwrite,
                on_broken=args.on_broken,
                max_images=args.max_images,
                progress=progress,
            )
    except GateError as error:
        if error.bundle is not None:
            _print(error.bundle, args, console)
        raise
    _print(bundle, args, console)
    _integrate(bundle, args, console)
    if not args.json:
        _say_next(bundle, args, console)
    return 0


def _say_next(bundle: Bundle, args: argparse.Namespace, console: Console) -> None:
    place, images = shlex.quote(args.out), shlex.quote(args.images) if args.images else "SOURCE"
    if bundle.evidence.int8 is None:
        console.result(f"next: ghost-deploy infer {place} {images} -o annotated")
    else:  # without --precision it is not int8 that runs
        detect = f"ghost-deploy infer {place} {images} --precision fastest -o annotated"
        console.result(f"next: ghost-deploy check {place}\n      {detect}")


def _refuse_models_there(args: argparse.Namespace) -> None:
    if args.triton and not args.overwrite:
        from ghost_deploy.export.integrations.triton import refuse_models_of

        refuse_models_of(args.checkpoint, args.triton)


def _integrate(bundle: Bundle, args: argparse.Namespace, console: Console) -> None:
    """Write the folders for other servers that are named."""
    from ghost_deploy.export.integrations.deepstream import write_deepstream
    from ghost_deploy.export.integrations.failed_artifacts import failure_lines
    from ghost_deploy.export.integrations.triton import write_triton

    say = console.note if args.json else console.result
    for line in failure_lines(bundle) if args.triton or args.deepstream else ():
        console.note(f"left out: {line}")
    if args.triton:
        names = write_triton(bundle, args.triton, overwrite=args.overwrite)
        say(f"{args.triton}: Triton model repository with {', '.join(names)}")
    if args.deepstream:
        write_deepstream(bundle, args.deepstream, args.trt_version, overwrite=args.overwrite)
        say(f"{args.deepstream}: for DeepStream; its README.md says how to use it")


def _formats(args: argparse.Namespace) -> tuple[str, ...]:
    """The formats that are named; without any, ONNX and OpenVINO."""
    named = _named(args, _FORMATS)
    return (*named, "tensorrt") if args.trt else named or _DEFAULT_FORMATS


def _named(args: argparse.Namespace, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of `names` whose option was given."""
    return tuple(name for name in names if getattr(args, name))


def _print(bundle: Bundle, args: argparse.Namespace, console: Console) -> None:
    if args.json:
        console.document(bundle.document)
        return
    from ghost_deploy.cli.tables import (
        print_artifacts,
        print_fork,
        print_int8,
        print_parity,
        print_statistics,
    )

    print_artifacts(bundle, bundle.artifacts, console)
    if bundle.evidence.statistics:
        print_statistics(bundle.evidence.statistics, console)
    assert bundle.evidence.parity is not None  # an export is always proved
    print_parity(bundle.evidence.parity, console)
    if bundle.evidence.fork:
        console.result("")
        print_fork(bundle.evidence.fork, console)
    if bundle.evidence.int8:
        console.result("")
        print_int8(bundle.evidence.int8, console)
