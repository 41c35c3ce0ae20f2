"""Try TensorRT for real: every way to an engine built, compared, judged and timed on this GPU.

    python tools/gpu_check.py                                     # the built-in detector
    python tools/gpu_check.py CHECKPOINT --images DIR [--calib DIR] [--data data.yaml]
    python tools/gpu_check.py BUNDLE --images DIR ...
    python tools/gpu_check.py --dry-run                           # no GPU: all steps, on fakes

One command and one folder to send back: `gpu_check.json` (everything, raw samples included),
`gpu_check.md` (tables, and what did not work with its cause) and `logs` (what each part printed).

Builds engines in FP32, FP16 and INT8 (from Q/DQ nodes and from a calibration cache), strongly
typed, with NMS inside, and for a DLA core; runs parity and mAP for each; times them host to host
and on the device alone, beside ONNX Runtime on CUDA and PyTorch where these are there. Every part
is a process of its own: one that crashes or is not possible here is recorded with its reason, and
the others go on. Nothing is downloaded. A bundle is copied first.

Exit code 0 when every part that was possible passed, 1 when a gate was missed, 2 when a part
broke, 3 when no engine could be built.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.runtimes.tensorrt.calibration_cache import CACHE_FILE
from tools.gpu_check_parts import Check, Run, run_process
from tools.gpu_check_report import markdown
from tools.gpu_check_steps import device_latency, machine_facts
from tools.pretend_gpu import pretend_gpu

_SCENES = range(9_000, 9_080)
"""Seeds of the built-in detector's scenes; it learned from none of them."""


@dataclass(frozen=True)
class Way:
    """A way to an engine: its name, the options of `build`, and the folder of its own bundle.

    Engines of one precision replace each other, so that each way to it has a copy of the bundle.
    """

    name: str
    options: tuple[str, ...]
    folder: str = "bundle"


_WAYS = (
    Way("fp32", ("--fp32",)),
    Way("fp16", ("--fp16",)),
    Way("int8 by QDQ", ("--int8",)),
    Way("int8 by cache", ("--int8", "--int8-cache", CACHE_FILE), "bundle_by_cache"),
    Way("fp16 strongly typed", ("--fp16", "--strongly-typed"), "bundle_strong"),
    Way("int8 strongly typed", ("--int8", "--strongly-typed"), "bundle_strong"),
    Way("fp16 on DLA", ("--fp16", "--dla", "0"), "bundle_dla"),
    Way("int8 on DLA", ("--int8", "--dla", "0"), "bundle_dla"),
)


def main(argv: Sequence[str] | None = None, run: Run | None = None) -> int:
    """Do all parts and write the results."""
    args = _arguments(argv)
    if args.step:
        return _step(args)
    folder = Path(args.out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if args.dry_run:
        os.environ.update(pretend_gpu(args.dry_run, folder))
    check = Check(folder, run or run_process)
    check.command("doctor", "doctor", "--json", document=True)
    check.own("facts", "--step", "facts")
    if not args.model:
        _built_in(args, folder)
    bundle = _bundle(check, args)
    if bundle is not None:
        for built in _engines(check, bundle, args):
            _judge(check, built, args)
    _write(check, args)
    return _exit_code(check)


def _step(args: argparse.Namespace) -> int:
    """Do one part of our own, in the process that was started for it."""
    try:
        found = machine_facts() if args.step == "facts" else device_latency(args)
    except GhostDeployError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(found))
    return 0


def _built_in(args: argparse.Namespace, folder: Path) -> None:
    """Take the detector that comes with the package, and scenes of what it knows."""
    from ghost_deploy.demo.embedded import MODEL_FILE
    from ghost_deploy.demo.scene_files import LABELS, write_scenes

    scenes = folder / "scenes"
    write_scenes(scenes, _SCENES)
    args.model = str(MODEL_FILE)
    args.images = args.images or str(scenes / "images")
    args.calib, args.data = args.calib or args.images, args.data or str(scenes / LABELS)


def _bundle(check: Check, args: argparse.Namespace) -> Path | None:
    """The folder to work on: a copy of the bundle, or an export of the checkpoint."""
    bundle, source = check.folder / "bundle", Path(args.model)
    if source.is_dir():
        shutil.copytree(source, bundle, dirs_exist_ok=True)
    else:
        _export(check, args, "export", bundle, "--onnx", "--fp32", "--fp16")
        if not check.ok("export"):
            return None
    if args.calib:
        data = ["--data", args.data] if args.data else []
        check.command("calibrate", "calibrate", str(bundle), "--onnx", "--calib", args.calib, *data)
    else:
        check.skip("calibrate", "no --calib")
    return bundle


def _export(check: Check, args: argparse.Namespace, name: str, bundle: Path, *options: str) -> None:
    size = ["--imgsz", *map(str, args.imgsz)] if args.imgsz else []
    words = (args.model, "-o", str(bundle), "--images", args.images, "--overwrite", *size)
    check.command(name, "export", *words, *options)


def _engines(check: Check, bundle: Path, args: argparse.Namespace) -> list[Path]:
    """Build everything; the bundles that have at least one engine."""
    folders = {way.folder: check.folder / way.folder for way in _WAYS}
    for folder in folders.values():
        if folder != bundle:
            shutil.copytree(bundle, folder, dirs_exist_ok=True)
    has_int8 = any(artifact.precision == "int8" for artifact in Bundle.read(bundle).artifacts)
    for way in _WAYS:
        name, folder = f"build {way.name}", folders[way.folder]
        lacks = CACHE_FILE in way.options and not (folder / CACHE_FILE).is_file()
        if lacks or ("--int8" in way.options and not has_int8):
            check.skip(name, f"the bundle has no {CACHE_FILE if lacks else 'INT8 graph'}")
            continue
        options = [str(folder / word) if word == CACHE_FILE else word for word in way.options]
        check.command(
            name, "build", str(folder), "--trt", *options, "--device", args.device, "--verbose"
        )
    folders["bundle_nms"] = check.folder / "bundle_nms"
    if Path(args.model).is_dir():
        check.skip("build with NMS", "no checkpoint was given")
    else:
        _export(check, args, "build with NMS", folders["bundle_nms"], "--trt", "--fp16", "--nms")
    return [folder for folder in folders.values() if _has_engine(folder)]


def _has_engine(folder: Path) -> bool:
    if not (folder / "bundle.json").is_file():
        return False
    return any(artifact.format == "tensorrt" for artifact in Bundle.read(folder).artifacts)


def _judge(check: Check, bundle: Path, args: argparse.Namespace) -> None:
    """Parity, mAP and latency of one bundle's engines."""
    where, device = bundle.name, ("--device", args.device)
    checkpoint = Path(args.model)
    if where == "bundle_dla":
        device = ("--device", "dla:0")
    if checkpoint.is_file():
        check.command(
            f"parity {where}", "parity", str(checkpoint), str(bundle), "--images", args.images,
            *device, "--json", document=True,
        )  # fmt: skip
    else:
        check.skip(f"parity {where}", "no checkpoint was given; see the self-check of each build")
    if args.data:
        # What the engines are compared with: the checkpoint, or the fp32 graph in ONNX Runtime.
        others = ("trt", "--checkpoint", str(checkpoint)) if checkpoint.is_file() else (
            "trt", "ort", "--allow-fallback"
        )  # fmt: skip
        check.command(
            f"validate {where}", "validate", str(bundle), "--data", args.data, *device, "--json",
            "--runtime", *others, document=True,
        )  # fmt: skip
    else:
        check.skip(f"validate {where}", "no --data")
    models = [str(bundle), *([str(checkpoint)] if checkpoint.is_file() else [])]
    check.command(
        f"bench {where}", "bench", *models, "--images", args.images, *device,
        "--duration", str(args.duration), "--json", document=True,
    )  # fmt: skip
    dry = ("--dry-run", args.dry_run) if args.dry_run else ()
    check.own(f"device latency {where}", str(bundle), "--step", "device-latency", *device, *dry)


def _write(check: Check, args: argparse.Namespace) -> None:
    builds = {}
    for folder in sorted(check.folder.glob("bundle*")):
        if (folder / "bundle.json").is_file():
            manifest = json.loads((folder / "bundle.json").read_text())
            builds[folder.name] = manifest["evidence"].get("build", {}).get("engines", {})
    document = {
        "model": Path(args.model).name,
        "device": args.device,
        "dry_run": args.dry_run or "",
        "parts": [asdict(part) for part in check.parts],
        "builds": builds,
    }
    (check.folder / "gpu_check.json").write_text(json.dumps(document, indent=1) + "\n")
    (check.folder / "gpu_check.md").write_text("\n".join(markdown(document)) + "\n")


def _exit_code(check: Check) -> int:
    states = {part.state for part in check.parts}
    if not any(p.name.startswith("build") and check.ok(p.name) for p in check.parts):
        return 2 if "failed" in states else 3
    return 2 if "failed" in states else 1 if "gate missed" in states else 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "model", nargs="?", default="",
        help="checkpoint, or a bundle with ONNX artifacts (default: the built-in detector)",
    )  # fmt: skip
    parser.add_argument("--images", default="", help="images for parity and timing")
    parser.add_argument("--calib", help="images for INT8 ranges")
    parser.add_argument("--data", help="labelled images: data.yaml or COCO JSON")
    parser.add_argument("--imgsz", nargs="+", type=int, help="input side, or height and width")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds a candidate is timed")
    parser.add_argument("-o", "--out", default="gpu_check", help="folder for the results")
    parser.add_argument(
        "--dry-run", nargs="?", const="10.13", metavar="VERSION",
        help="go through all steps without a GPU, on the fakes of the test suite",
    )  # fmt: skip
    parser.add_argument("--step", choices=("facts", "device-latency"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.model and not args.images and not args.step:
        parser.error("--images is needed")
    return args


if __name__ == "__main__":
    sys.exit(main())
