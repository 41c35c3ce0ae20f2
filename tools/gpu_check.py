"""Try TensorRT for real: every precision built, compared, judged and timed on this machine's GPU.

    python tools/gpu_check.py CHECKPOINT --images DIR [--calib DIR] [--data data.yaml] [-o FOLDER]
    python tools/gpu_check.py BUNDLE --images DIR ...

Builds engines in FP32, FP16, INT8 from Q/DQ nodes and INT8 from a calibration cache; runs parity
and mAP for each; times them host to host and on the device alone, beside ONNX Runtime on CUDA and
PyTorch where these are there. Every part is a process of its own: one that crashes or is not
possible here is recorded with its reason, and the others go on. Nothing is downloaded.

Writes gpu_check.json (everything, raw samples included), gpu_check.md (tables) and what each part
printed. A bundle is copied first. Exit code 0 when every part that was possible passed, 1 when a
gate was missed, 2 when a part broke, 3 when no engine could be built.
"""

from __future__ import annotations

import argparse
import json
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
from ghost_deploy.runtimes import RuntimeOptions, open_file

CACHE = "model.int8.trtcache"
_LIMIT_S = 3600
_STATES = {0: "done", 1: "gate missed", 3: "skipped"}
_RUNS = 300
_WARM_UP = 50

Run = Callable[[Sequence[str], Path], int]
"""Runs a command with its output in `<path>.out` and `<path>.err`; gives the exit code."""


@dataclass
class Part:
    """One step: its state, why it is not `done`, its seconds, and the document that it printed."""

    name: str
    state: str
    reason: str = ""
    seconds: float = 0.0
    document: Any = None


class Check:
    """The parts done so far, and the folder that they write to."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.parts, self._run = folder, list[Part](), run

    def command(self, name: str, *words: str, document: bool = False) -> Part:
        """Run `ghost-deploy WORDS` as one part."""
        code = "import sys; from ghost_deploy.cli.main import main; sys.exit(main())"
        return self.process(name, [sys.executable, "-c", code, *words], document=document)

    def process(self, name: str, words: Sequence[str], *, document: bool = False) -> Part:
        """Run a process as one part."""
        print(f"{name} ...", flush=True)
        stem, start = self.folder / name.replace(" ", "_"), time.monotonic()
        code = self._run(words, stem)
        out, err = (_text(stem.with_name(stem.name + end)) for end in (".out", ".err"))
        part = Part(name, _STATES.get(code, "failed"), seconds=round(time.monotonic() - start, 1))
        if code:
            lines = (err or out).strip().splitlines()
            last = lines[-1] if lines else f"exit code {code}"
            told = (line for line in reversed(lines) if line.startswith("error: "))
            part.reason = next(told, last).removeprefix("error: ")
        if document and part.state in ("done", "gate missed"):
            try:
                part.document = json.loads(out)
            except ValueError:
                part.state, part.reason = "failed", "it printed no JSON document"
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
    if args.device_latency:
        print(json.dumps(_device_latency(Path(args.model))))
        return 0
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    check = Check(folder, run or _run)
    check.command("doctor", "doctor", "--json", document=True)
    bundle = _bundle(check, args)
    if bundle is not None:
        engines = _engines(check, bundle, args)
        for built in engines:
            _judge(check, built, args)
    _write(check, args)
    return _exit_code(check)


def _bundle(check: Check, args: argparse.Namespace) -> Path | None:
    """The folder to work on: a copy of the bundle, or an export of the checkpoint."""
    bundle, source = check.folder / "bundle", Path(args.model)
    if source.is_dir():
        shutil.copytree(source, bundle, dirs_exist_ok=True)
    else:
        size = ["--imgsz", *map(str, args.imgsz)] if args.imgsz else []
        check.command(
            "export", "export", str(source), "-o", str(bundle), "--onnx", "--fp32", "--fp16",
            "--images", args.images, "--overwrite", *size,
        )  # fmt: skip
        if not check.ok("export"):
            return None
    if args.calib:
        data = ["--data", args.data] if args.data else []
        check.command("calibrate", "calibrate", str(bundle), "--calib", args.calib, *data)
    else:
        check.skip("calibrate", "no --calib")
    return bundle


def _engines(check: Check, bundle: Path, args: argparse.Namespace) -> list[Path]:
    """Build everything; the bundles that have at least one engine."""
    cached = check.folder / "bundle_by_cache"
    if (bundle / CACHE).is_file():
        shutil.copytree(bundle, cached, dirs_exist_ok=True)
    for precision in ("fp32", "fp16"):
        check.command(f"build {precision}", "build", str(bundle), "--trt", f"--{precision}")
    has_int8 = any(artifact.precision == "int8" for artifact in Bundle.read(bundle).artifacts)
    if has_int8:
        check.command("build int8 by QDQ", "build", str(bundle), "--trt", "--int8")
    else:
        check.skip("build int8 by QDQ", "the bundle has no INT8 graph")
    if cached.is_dir():
        check.command(
            "build int8 by cache", "build", str(cached), "--trt", "--int8",
            "--int8-cache", str(cached / CACHE),
        )  # fmt: skip
    else:
        check.skip("build int8 by cache", f"the bundle has no {CACHE}")
    return [
        each
        for each in (bundle, cached)
        if each.is_dir() and any(a.format == "tensorrt" for a in Bundle.read(each).artifacts)
    ]


def _judge(check: Check, bundle: Path, args: argparse.Namespace) -> None:
    """Parity, mAP and latency of one bundle's engines."""
    where, device = bundle.name, ("--device", args.device)
    checkpoint = Path(args.model)
    if checkpoint.is_file():
        check.command(
            f"parity {where}", "parity", str(checkpoint), str(bundle), "--images", args.images,
            *device, "--json", document=True,
        )  # fmt: skip
    else:
        check.skip(f"parity {where}", "no checkpoint was given; see the self-check of each build")
    if args.data:
        check.command(
            f"validate {where}", "validate", str(bundle), "--data", args.data, "--runtime", "trt",
            *device, "--json", document=True,
        )  # fmt: skip
    else:
        check.skip(f"validate {where}", "no --data")
    models = [str(bundle), *([str(checkpoint)] if checkpoint.is_file() else [])]
    check.command(
        f"bench {where}", "bench", *models, "--images", args.images, *device,
        "--duration", str(args.duration), "--json", document=True,
    )  # fmt: skip
    own = [sys.executable, str(Path(__file__).resolve()), str(bundle), "--device-latency"]
    check.process(f"device latency {where}", own, document=True)


def _device_latency(bundle: Path) -> list[dict[str, Any]]:
    """Milliseconds on the device alone, without copies, of every engine of a bundle."""
    opened, found = Bundle.read(bundle), []
    for artifact in opened.artifacts:
        if artifact.format != "tensorrt":
            continue
        options = RuntimeOptions(device="cuda", precision=artifact.precision)
        with open_file("trt", opened.verified_path(artifact), options) as runtime:
            measure: Any = runtime
            measure.device_ms(_WARM_UP)
            found.append({"artifact": artifact.id, "ms": measure.device_ms(_RUNS)})
    return found


def _write(check: Check, args: argparse.Namespace) -> None:
    document = {
        "model": Path(args.model).name,
        "device": args.device,
        "parts": [asdict(part) for part in check.parts],
    }
    (check.folder / "gpu_check.json").write_text(json.dumps(document, indent=1) + "\n")
    (check.folder / "gpu_check.md").write_text("\n".join(markdown(document)) + "\n")


def markdown(document: dict[str, Any]) -> Iterator[str]:
    """The tables of a result."""
    yield f"# GPU check of {document['model']}\n"
    yield from _machine(document)
    yield from _table(
        ("part", "state", "s", "why"),
        [(p["name"], p["state"], p["seconds"], p["reason"]) for p in document["parts"]],
    )
    kinds = {
        "parity": (("artifact", "runtime", "verdict", "matched", "score", "box px"), _parity),
        "validate": (("artifact", "runtime", "mAP50-95", "mAP50", "points lost"), _accuracy),
        "bench": (("model", "artifact", "runtime", "p50 ms", "p90 ms", "p99 ms"), _latency),
        "device": (("artifact", "p50 ms", "least ms"), _on_device),
    }
    for part in document["parts"]:
        kind = part["name"].partition(" ")[0]
        if part["document"] and kind in kinds:
            heads, rows = kinds[kind]
            yield f"\n## {part['name']}\n"
            yield from _table(heads, list(rows(part["document"])))


def _machine(document: dict[str, Any]) -> Iterator[str]:
    doctor = next((p["document"] for p in document["parts"] if p["name"] == "doctor"), None)
    if not doctor:
        return
    machine = doctor["machine"]
    gpus = ", ".join(machine.get("nvidia_gpus") or [machine.get("board") or "no NVIDIA GPU"])
    yield f"{gpus}; driver {machine.get('nvidia_driver') or 'none'}; {machine['system']}.\n"
    for runtime in doctor["runtimes"]:
        yield f"- {runtime['runtime']} {runtime.get('version') or 'not installed'}"
    yield ""


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
        yield row["artifact"], round(statistics.median(row["ms"]), 4), round(min(row["ms"]), 4)


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


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="checkpoint, or a bundle with ONNX artifacts")
    parser.add_argument("--images", default="", help="pictures for parity and timing")
    parser.add_argument("--calib", help="pictures for INT8 ranges")
    parser.add_argument("--data", help="labelled images: data.yaml or COCO JSON")
    parser.add_argument("--imgsz", nargs="+", type=int, help="input side, or height and width")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N")
    parser.add_argument("--duration", type=float, default=10.0, help="seconds a candidate is timed")
    parser.add_argument("-o", "--out", default="gpu_check", help="folder for the results")
    parser.add_argument("--device-latency", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not args.images and not args.device_latency:
        parser.error("--images is needed")
    return args


if __name__ == "__main__":
    sys.exit(main())
