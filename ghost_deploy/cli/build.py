"""`ghost-deploy build`: a TensorRT engine of a bundle, made on the device that will run it."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.gate_error import GateError

if TYPE_CHECKING:
    from ghost_deploy.core.bundle import Bundle

DESCRIPTION = """\
Make TensorRT engines of a bundle's ONNX graphs, on the device that will run them. Needs tensorrt
and numpy, neither torch nor onnx. Each engine is run on the images that the bundle carries and
compared with the results of PyTorch; when it misses its gate it is still written, with that
verdict inside, and the exit code is 1. Without a precision: fp16.
"""
EXAMPLES = """\
examples:
  ghost-deploy build out/best --trt
  ghost-deploy build out/best --trt --fp16 --int8 --workspace 1024
  ghost-deploy build out/best --trt --int8 --int8-cache model.int8.trtcache
  ghost-deploy build out/best --trt --int8 --try-placements
  ghost-deploy build out/best --trt --fp16 --dla 0
"""

_PRECISIONS = ("fp32", "fp16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_bundle(parser)
    what = parser.add_argument_group("what to build")
    options.add_switches(
        what,
        {
            "--trt": "a TensorRT engine",
            "--fp32": "all in float32, TF32 off",
            "--fp16": "half precision, box decoding in float32",
            "--int8": "quantized, the rest in half precision",
            "--strongly-typed": "let the types in the graph decide (TensorRT 10; on 11 always so)",
        },
    )
    cache = "a calibration cache for INT8 instead of Q/DQ nodes (up to TensorRT 10)"
    options.add_value(what, "--int8-cache", "FILE", cache)
    what.add_argument(
        "--calibrator",
        choices=("entropy", "minmax"),
        default="entropy",
        help="which calibrator reads the cache (default: entropy; a DLA needs it)",
    )
    how = parser.add_argument_group("how to build")
    memory = "scratch memory for kernels, MiB (default: a share of what is free)"
    options.add_value(how, "--workspace", "MB", memory, options.positive, dest="workspace_mib")
    search = "how long to search for kernels, 0 to 5 (TensorRT 8.6 and newer)"
    options.add_value(how, "--opt-level", "N", search, options.natural)
    options.add_value(how, "--device", "DEVICE", "cuda or cuda:N", default="cuda")
    options.add_trust(how)
    options.add_value(how, "--dla", "N", "DLA core instead of the GPU", options.natural)
    how.add_argument(
        "--hardware-compatible",
        action="store_const",
        const="ampere+",
        default="",
        dest="hardware",
        help="run on other GPUs from Ampere on too, at some cost in speed (not on a Jetson)",
    )
    options.add_switches(
        how,
        {
            "--version-compatible": "run with newer versions of this major TensorRT too",
            "--no-self-check": "do not run the engine after building it",
            "--try-placements": "build INT8 in each way that `calibrate --search` made; keep the "
            "fastest that passes; takes as many times as long",
            "--overwrite": "replace engines of these precisions that the bundle has",
            "--verbose": "show what TensorRT logs, except its finest detail",
        },
    )
    options.add_on(parser)
    options.add_json(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Build, check and print."""
    if not args.trt:
        raise UsageError(
            "nothing to build was named",
            expected="--trt",
            fix="Add --trt: TensorRT engines are the only ones that must be built on the device",
        )
    from ghost_deploy import api

    def show(severity: str, line: str) -> None:
        if severity != "verbose":
            console.note(f"tensorrt {severity}: {line}")

    failed: list[GateError] = []
    bundle: Bundle | None = None
    chosen = [name for name in _PRECISIONS if getattr(args, name)] or ["fp16"]
    own = ("trt", *_PRECISIONS, "int8_cache", "try_placements", "no_self_check", "verbose")
    shared = options.arguments(args, *own)
    with console.steps("step") as progress:
        for precision in chosen:
            try:
                bundle = api.build(
                    **shared,
                    precision=precision,
                    int8_cache=args.int8_cache if precision == "int8" else None,
                    self_check=not args.no_self_check,
                    try_placements=args.try_placements and precision == "int8",
                    progress=progress,
                    log=show if args.verbose else None,
                )
            except GateError as error:  # the other engines are built too
                failed.append(error)
                bundle = error.bundle
    if bundle is not None and args.json:
        console.document(bundle.document)
    elif bundle is not None:
        _print(bundle, chosen, console)
    if failed:
        raise failed[0]
    if args.json:
        return 0
    name = shlex.quote(args.bundle)
    console.result(f"\nnext: ghost-deploy bench {name} --runtime trt --device {args.device}")
    return 0


def _print(bundle: Bundle, chosen: list[str], console: Console) -> None:
    from msgspec.structs import replace

    from ghost_deploy.cli.tables import print_artifacts, print_builds, print_parity

    assert bundle.evidence.build is not None  # something was just built
    built = [a for a in bundle.artifacts if a.format == "tensorrt" and a.precision in chosen]
    ids = {artifact.id for artifact in built}
    print_artifacts(bundle, built, console)
    print_builds(bundle.evidence.build, console, ids)
    parity = bundle.evidence.parity
    checks = tuple(row for row in parity.rows if row.artifact in ids) if parity else ()
    if parity and checks:
        print_parity(replace(parity, rows=checks), console)
    if len(checks) < len(ids):
        unchecked = sorted(ids - {row.artifact for row in checks})
        console.result(f"self-check not run: {', '.join(unchecked)}")
