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
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file
from ghost_deploy.runtimes.tensorrt.calibration_cache import CACHE_FILE

ROOT = Path(__file__).resolve().parents[1]
_LIMIT_S = 3600
_STATES = {0: "done", 1: "gate missed", 3: "skipped"}
_RUNS = (50, 300)
"""On the device alone, of each engine: to warm up, and to measure."""
_SCENES = range(9_000, 9_080)
"""Seeds of the built-in detector's scenes; it learned from none of them."""

_L4T = Path("/etc/nv_tegra_release")
_PLUGIN = "EfficientNMS_TRT"

Run = Callable[[Sequence[str], Path], int]
"""Runs a command with its output in `<path>.out` and `<path>.err`; returns the exit code."""


@dataclass
class Part:
    """One step: its state, why it is not `done`, its seconds, and the document that it printed."""

    name: str
    state: str
    reason: str = ""
    seconds: float = 0.0
    document: Any = None


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


class Check:
    """The parts done so far, and the folder that they write to."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.parts, self._run = folder, list[Part](), run
        self._logs = folder / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)

    def command(self, name: str, *words: str, document: bool = False) -> Part:
        """Run `ghost-deploy WORDS` as one part."""
        code = "import sys; from ghost_deploy.cli.main import main; sys.exit(main())"
        return self.process(name, [sys.executable, "-c", code, *words], document=document)

    def own(self, name: str, *words: str) -> Part:
        """Run this script with other options as one part."""
        script = [sys.executable, str(Path(__file__).resolve())]
        return self.process(name, [*script, *words], document=True)

    def process(self, name: str, words: Sequence[str], *, document: bool = False) -> Part:
        """Run a process as one part. What it printed counts whatever its exit code is."""
        print(f"{name} ...", flush=True)
        stem, start = self._logs / name.replace(" ", "_"), time.monotonic()
        code = self._run(words, stem)
        out, err = (_text(stem.with_name(stem.name + end)) for end in (".out", ".err"))
        part = Part(name, _STATES.get(code, "failed"), seconds=round(time.monotonic() - start, 1))
        if code:
            part.reason = _reason(err or out) or f"exit code {code}"
        if document:
            try:
                part.document = json.loads(out)
            except ValueError:
                if part.state in ("done", "gate missed"):
                    part.state = "failed"
                    part.reason = part.reason or "it printed no JSON document"
            else:
                rows = list(_broken_rows(part.document))
                if part.state in ("failed", "gate missed") and rows:
                    part.reason = f"{len(rows)} of its rows failed, see below"
        self.parts.append(part)
        print(f"  {part.state} {part.reason}", flush=True)
        return part

    def skip(self, name: str, reason: str) -> None:
        """Record what is not possible."""
        self.parts.append(Part(name, "skipped", reason))
        print(f"{name}: skipped, {reason}", flush=True)

    def ok(self, name: str) -> bool:
        """Whether the part of that name left something to work with."""
        return any(p.name == name and p.state in ("done", "gate missed") for p in self.parts)


def main(argv: Sequence[str] | None = None, run: Run | None = None) -> int:
    """Do all parts and write the results."""
    args = _arguments(argv)
    if args.step:
        return _step(args)
    folder = Path(args.out).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if args.dry_run:
        os.environ.update(pretend_gpu(args.dry_run, folder))
    check = Check(folder, run or _run)
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
        found = _machine_facts() if args.step == "facts" else _device_latency(args)
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


def _device_latency(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Milliseconds on the device alone, without copies, of every engine of a bundle."""
    opened, found = Bundle.read(args.model), []
    warm_up, runs = (1, 10) if args.dry_run else _RUNS
    for artifact in opened.artifacts:
        if artifact.format != "tensorrt":
            continue
        options = RuntimeOptions(device=args.device, precision=artifact.precision)
        with open_file("trt", opened.verified_path(artifact), options) as runtime:
            measure: Any = runtime
            measure.device_ms(warm_up)
            found.append(
                {
                    "artifact": artifact.id,
                    "device": runtime.info.device,
                    "notes": runtime.info.notes,
                    "ms": measure.device_ms(runs),
                }
            )
    return found


def _machine_facts() -> dict[str, Any]:
    """What is not known of this TensorRT without asking it here."""
    from ghost_deploy.runtimes.tensorrt import compat
    from ghost_deploy.runtimes.tensorrt.cudart import describe_gpu, open_cudart
    from ghost_deploy.runtimes.tensorrt.logger import TensorrtLog

    api, log = compat.load(), TensorrtLog()
    logger = log.listen(api)
    cuda = open_cudart()
    compat.load_plugins(api, logger)
    registry = api.module.get_plugin_registry()
    find = getattr(registry, "get_creator", None) or registry.get_plugin_creator
    runtime = compat.new_runtime(api, logger, log.last)
    return {
        "tensorrt": api.text,
        "cuda": {"library": cuda.library, "runtime_and_driver": cuda.versions()},
        "gpus": [asdict(describe_gpu(index)) for index in range(cuda.device_count())],
        "dla_cores": compat.num_dla_cores(runtime),
        "l4t": _text(_L4T).partition("\n")[0],
        "container": Path("/.dockerenv").exists(),
        _PLUGIN: find(_PLUGIN, "1", "") is not None,
        "warnings": list(log.warnings),
    }


def pretend_gpu(version: str, folder: Path) -> dict[str, str]:
    """Environment in which TensorRT, CUDA and the GPU are the fakes of the test suite."""
    support = ROOT / "tests" / "support"
    library = folder / "fake_cuda" / "libcudart.so.13"
    library.parent.mkdir(exist_ok=True)
    source = support / "fake_cudart.c"
    compiler = shutil.which("cc") or shutil.which("gcc") or "cc"
    command = [compiler, "-shared", "-fPIC", "-O1", "-pthread", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    before = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return {
        "PYTHONPATH": os.pathsep.join([str(support / "dry_gpu"), str(ROOT), *filter(None, before)]),
        "LD_LIBRARY_PATH": str(library.parent),
        "GHOST_DEPLOY_DRY_TENSORRT": version,
        "GHOST_DEPLOY_DRY_FOLDER": str(folder),
    }


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


def markdown(document: dict[str, Any]) -> Iterator[str]:
    """The tables of a result."""
    yield f"# GPU check of {document['model']}\n"
    if document["dry_run"]:
        yield f"**A dry run on a fake TensorRT {document['dry_run']}: no figure means anything.**\n"
    yield from _machine(document)
    yield from _table(
        ("part", "state", "s", "why"),
        [(p["name"], p["state"], p["seconds"], p["reason"]) for p in document["parts"]],
    )
    yield from _failures(document)
    yield from _builds(document["builds"])
    kinds = {
        "parity": (("artifact", "runtime", "verdict", "matched", "score", "box px"), _parity),
        "validate": (("artifact", "runtime", "mAP50-95", "mAP50", "points lost"), _accuracy),
        "bench": (("model", "artifact", "runtime", "p50 ms", "p90 ms", "p99 ms"), _latency),
        "device": (("artifact", "device", "p50 ms", "least ms"), _on_device),
    }
    for part in document["parts"]:
        kind = part["name"].partition(" ")[0]
        if part["document"] and kind in kinds:
            heads, rows = kinds[kind]
            yield f"\n## {part['name']}\n"
            yield from _table(heads, list(rows(part["document"])))


def _machine(document: dict[str, Any]) -> Iterator[str]:
    by_name = {part["name"]: part["document"] for part in document["parts"]}
    doctor = by_name.get("doctor")
    if not doctor:
        return
    machine = doctor["machine"]
    gpus = ", ".join(machine.get("nvidia_gpus") or [machine.get("board") or "no NVIDIA GPU"])
    yield f"{gpus}; driver {machine.get('nvidia_driver') or 'none'}; {machine['system']}.\n"
    for runtime in doctor["runtimes"]:
        yield f"- {runtime['runtime']} {runtime.get('version') or 'not installed'}"
    for name, value in (by_name.get("facts") or {}).items():
        yield f"- {name}: {value}"
    yield ""


def _failures(document: dict[str, Any]) -> Iterator[str]:
    """All that did not work, each with its cause."""
    lines = [
        f"- {part['name']}: {part['state']}, {part['reason']}"
        for part in document["parts"]
        if part["state"] not in ("done", "skipped")
    ]
    for part in document["parts"]:
        lines += [f"- {part['name']}, {row}" for row in _broken_rows(part["document"])]
    if lines:
        yield "\n## What did not work\n"
        yield from lines


def _broken_rows(document: Any) -> Iterator[str]:
    """The rows of a report that failed, with their reasons."""
    rows = document.get("rows", ()) if isinstance(document, dict) else ()
    for row in rows:
        if row.get("status") == "failed":
            why = row.get("reason") or "; ".join(row.get("reasons", ()))
            runtime = row.get("runtime") or (row.get("config") or {}).get("runtime", "")
            yield f"{row['artifact']} on {runtime}: {why}"


def _builds(builds: dict[str, Any]) -> Iterator[str]:
    rows = [
        (bundle, name, record["route"], _counts(record["precisions"]), record["reformats"],
         record["pinned"], "; ".join(record["notes"]))
        for bundle, engines in builds.items()
        for name, record in engines.items()
    ]  # fmt: skip
    if rows:
        yield "\n## Engines\n"
        heads = ("bundle", "engine", "route", "layers", "reformat", "pinned", "notes")
        yield from _table(heads, rows)


def _counts(precisions: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in precisions.items())


def _parity(report: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in report["rows"]:
        found = row.get("detections") or {}
        matched = f"{found['matched']} of {found['total']}" if "total" in found else ""
        worst = [(found.get(name) or {}).get("max", "") for name in ("score", "box_px")]
        yield row["artifact"], row["runtime"], row["status"], matched, *worst


def _accuracy(report: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in report["rows"]:
        figures = row.get("accuracy") or {}
        yield (
            row["artifact"], row["runtime"], figures.get("map50_95", ""),
            figures.get("map50", ""), row.get("delta", ""),
        )  # fmt: skip


def _latency(report: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for row in report["rows"]:
        stage = ((row.get("figures") or {}).get("stages") or {}).get("run_alone")
        times = [stage[name] for name in ("p50", "p90", "p99")] if stage else [row["status"]]
        yield row["subject"], row["artifact"], row["config"]["runtime"], *times


def _on_device(report: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for row in report:
        times = (round(statistics.median(row["ms"]), 4), round(min(row["ms"]), 4))
        yield row["artifact"], row["device"], *times


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + " --- |" * len(heads)
    for row in rows:
        cells = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row]
        yield "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def _exit_code(check: Check) -> int:
    states = {part.state for part in check.parts}
    if not any(p.name.startswith("build") and check.ok(p.name) for p in check.parts):
        return 2 if "failed" in states else 3
    return 2 if "failed" in states else 1 if "gate missed" in states else 0


def _run(words: Sequence[str], stem: Path) -> int:
    with (
        stem.with_name(stem.name + ".out").open("w") as out,
        stem.with_name(stem.name + ".err").open("w") as err,
    ):
        try:
            return subprocess.run(
                words, stdout=out, stderr=err, check=False, timeout=_LIMIT_S
            ).returncode
        except subprocess.TimeoutExpired:
            err.write(f"it did not end within {_LIMIT_S} s\n")
            return 2


def _reason(text: str) -> str:
    """The line of an error in what a process printed, or its last line."""
    lines = text.strip().splitlines()
    told = (line for line in reversed(lines) if line.startswith("error: "))
    return next(told, lines[-1] if lines else "").removeprefix("error: ")


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


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
