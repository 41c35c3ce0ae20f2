"""`ghost-deploy build`: a TensorRT engine of a bundle, made on the device that will run it."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.format import mebibytes, plural, size_of
from ghost_deploy.cli.options import natural, positive
from ghost_deploy.core.errors import GateError, UsageError

if TYPE_CHECKING:
    from ghost_deploy.core.bundle import Bundle

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = """\
Make TensorRT engines of a bundle's ONNX graphs, on the device that will run them. Needs tensorrt
and numpy, neither torch nor onnx. Each engine is run on the pictures that the bundle carries and
compared with what PyTorch made of them; when it misses its gate it is still written, with that
verdict inside, and the exit code is 1. Without a precision: fp16.
"""
EXAMPLES = """\
examples:
  ghost-deploy build out/best --trt
  ghost-deploy build out/best --trt --fp16 --int8 --workspace 1024
  ghost-deploy build out/best --trt --int8 --int8-cache model.int8.trtcache
  ghost-deploy build out/best --trt --fp16 --dla 0
"""

_PRECISIONS = ("fp32", "fp16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="folder that `export` wrote")
    what = parser.add_argument_group("what to build")
    what.add_argument("--trt", action="store_true", help="a TensorRT engine")
    what.add_argument("--fp32", action="store_true", help="all in float32, TF32 off")
    what.add_argument("--fp16", action="store_true", help="half precision, box decoding in float32")
    what.add_argument("--int8", action="store_true", help="quantized, the rest in half precision")
    what.add_argument(
        "--strongly-typed",
        action="store_true",
        help="let the types in the graph decide (TensorRT 10; on 11 always so)",
    )
    what.add_argument(
        "--int8-cache",
        metavar="FILE",
        help="a calibration cache for INT8 instead of Q/DQ nodes (up to TensorRT 10)",
    )
    what.add_argument(
        "--calibrator",
        choices=("entropy", "minmax"),
        default="entropy",
        help="which calibrator reads the cache (default: entropy; a DLA needs it)",
    )
    how = parser.add_argument_group("how to build")
    how.add_argument(
        "--workspace",
        type=positive,
        metavar="MB",
        help="scratch memory for kernels, MiB (default: a share of what is free)",
    )
    how.add_argument(
        "--opt-level",
        type=natural,
        metavar="N",
        help="how long to search for kernels, 0 to 5 (TensorRT 8.6 and newer)",
    )
    how.add_argument("--device", default="cuda", metavar="DEVICE", help="cuda or cuda:N")
    how.add_argument("--dla", type=natural, metavar="N", help="DLA core instead of the GPU")
    how.add_argument(
        "--hardware-compatible",
        action="store_const",
        const="ampere+",
        default="",
        help="run on other GPUs from Ampere on too, at some cost in speed (not on a Jetson)",
    )
    how.add_argument(
        "--version-compatible",
        action="store_true",
        help="run with newer versions of this major TensorRT too",
    )
    how.add_argument(
        "--no-self-check", action="store_true", help="do not run the engine after building it"
    )
    how.add_argument(
        "--verbose", action="store_true", help="show what TensorRT logs, except its finest detail"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Build, check and print."""
    if not args.trt:
        raise UsageError(
            "nothing to build was named",
            expected="--trt",
            fix="Add --trt: TensorRT engines are the only ones that must be built on the device",
        )
    from ghost_deploy import api
    from ghost_deploy.core.bundle import Bundle

    failed: list[GateError] = []
    chosen = [name for name in _PRECISIONS if getattr(args, name)] or ["fp16"]
    with console.steps("step") as progress:
        for precision in chosen:
            try:
                api.build(
                    args.bundle,
                    precision,
                    strongly_typed=args.strongly_typed,
                    workspace_mib=args.workspace,
                    opt_level=args.opt_level,
                    dla=args.dla,
                    hardware=args.hardware_compatible,
                    version_compatible=args.version_compatible,
                    int8_cache=args.int8_cache if precision == "int8" else None,
                    calibrator=args.calibrator,
                    device=args.device,
                    self_check=not args.no_self_check,
                    progress=progress,
                    log=_Log(console) if args.verbose else None,
                )
            except GateError as error:
                failed.append(error)
    bundle = Bundle.read(args.bundle)
    _print(bundle, chosen, console)
    if failed:
        raise failed[0]
    name = shlex.quote(args.bundle)
    console.result(f"\nnext: ghost-deploy bench {name} --runtime trt --device {args.device}")
    return 0


class _Log:
    """Shows TensorRT's lines, the finest left out."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, severity: str, line: str) -> None:
        if severity != "verbose":
            self._console.note(f"tensorrt {severity}: {line}")


def _print(bundle: Bundle, chosen: list[str], console: Console) -> None:
    assert bundle.evidence.build is not None  # something was just built
    records = bundle.evidence.build.engines
    checks = _checks(bundle)
    names = ("engine", "built from", "route", "layers", "reformat", "size", "self-check")
    rows, notes = [], []
    for artifact in bundle.artifacts:
        if artifact.format != "tensorrt" or artifact.precision not in chosen:
            continue
        record = records[artifact.id]
        layers = ", ".join(f"{count} {name}" for name, count in record.precisions.items())
        size = mebibytes(size_of(bundle, artifact))
        verdict = checks.get(artifact.id, "not run")
        rows.append(
            [artifact.id, record.built_from, record.route, layers or "not told",
             str(record.reformats), size, verdict]
        )  # fmt: skip
        if record.dla is not None:
            notes.append(record.dla.summary())
            notes += [f"  on the GPU: {each.name} ({each.type})" for each in record.dla.fallbacks]
        notes += [f"{artifact.id}: {note}" for note in record.notes]
        notes.append(
            f"{artifact.id}: {record.fingerprint}; workspace {record.workspace_mib} MiB, timing "
            f"cache {record.timing_cache}, {plural(record.pinned, 'layer')} held in a type"
        )
    console.table([Column(name) for name in names], rows)
    for note in notes:
        console.note(note)


def _checks(bundle: Bundle) -> dict[str, str]:
    """The verdict of each engine of the bundle, in a few words, by the id of its artifact."""
    report = bundle.evidence.parity
    told: dict[str, str] = {}
    for row in report.rows if report else ():
        if row.tensor is None:
            told[row.artifact] = row.status
        else:
            score, box = row.tensor.score.max, row.tensor.box_px.max
            told[row.artifact] = f"{row.status}: score {score:.1g}, box {box:.1g} px"
    return told
