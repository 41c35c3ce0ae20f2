"""All figures of how long a command takes, beside those of another work tree.

    python -m benchmarks.stopwatch CHECKPOINT --calib IMAGES --data data.yaml --before TREE

The commands of this tree and of the other one take turns, round by round, each in a process of its
own: wall time, processor time (user and system) and peak resident memory, as the kernel counts them
for the process and the children that it waited for. Medians over the rounds, and ratios of the same
rounds; on a busy machine the processor time and the ratios mean more than the wall time. TREE is a
checkout of an older version (`git worktree add --detach TREE COMMIT`). With --only some of
`infer`, `phases`, `inspect`, `export`, `calibrate`, `cameras`, `files`.
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.interleave import machine

HERE = Path(__file__).resolve().parents[1]
KINDS = ("infer", "phases", "inspect", "export", "calibrate", "cameras", "files")

PHASES = """
import sys, time
marks = [("start of the interpreter", time.time())]
def mark(name):
    marks.append((name, time.time()))
import gc, os
gc.set_threshold(20_000)  # as the command does
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import ghost_deploy  # before the backends, whose telemetry it switches off
import numpy
mark("import numpy")
import cv2
mark("import cv2")
if sys.argv[2] == "openvino":
    from ghost_deploy.runtimes.openvino_package import import_openvino
    import_openvino()
else:
    import onnxruntime
mark("import the backend")
import ghost_deploy.cli.main, ghost_deploy.cli.infer, ghost_deploy.cli.summary
import ghost_deploy.detector, ghost_deploy.api.load, ghost_deploy.api.infer
import ghost_deploy.judge.check.first_load, ghost_deploy.stream.sources.image_files
mark("import ghost_deploy")
from ghost_deploy.api.load import load
detector = load(sys.argv[1], sys.argv[2], hint="once")
mark("open the model: hashes, verdict, session")
from ghost_deploy.processing.images import read_image
image = read_image(sys.argv[3])
mark("decode the image")
feeds, letterboxes = detector.preprocess([image])
mark("preprocess")
outputs = detector.runtime.run(feeds)
mark("run the model")
detector.postprocess(outputs, letterboxes)
mark("post-process")
detector.close()
mark("close")
for (_, before), (name, after) in zip(marks, marks[1:]):
    print(f"{name}\\t{1000 * (after - before)}")
print(f"end\\t{marks[-1][1]}\\t{marks[0][1]}")
from ghost_deploy.cli.leave import leave
leave(0)
"""


@dataclass(frozen=True)
class Cost:
    """What a process cost: seconds of wall and processor time, and its peak memory in MiB."""

    wall: float
    cpu: float
    mib: float


def measure(tree: Path, words: Sequence[str], cache: Path) -> Cost:
    """Run a command of a tree; what it prints is dropped unless it fails."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "XDG_CACHE_HOME": str(cache)}
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "ghost_deploy.cli.main", *words],
            env=environment, cwd=tree, stdout=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        assert child.returncode in (0, 1), f"{words}: {said.read().decode()[-2000:]}"
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def take_turns(
    commands: Mapping[str, tuple[Path, Sequence[str]]], rounds: int, scratch: Path, warm: bool
) -> dict[str, list[Cost]]:
    """The costs of every command, round by round; with `warm`, one more round before them."""
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    for number in range(rounds + warm):
        order = list(commands) if number % 2 else list(commands)[::-1]
        for name in order:
            tree, words = commands[name]
            cache = scratch / "cache" / tree.name
            words = [
                word.replace("{out}", str(scratch / f"{number}-{len(name)}")) for word in words
            ]
            cost = measure(tree, words, cache)
            if number >= warm:
                found[name].append(cost)
            print(f"{name:44}{cost.wall:8.2f} s", file=sys.stderr, flush=True)
    return found


def table(title: str, pairs: Mapping[str, tuple[list[Cost], list[Cost] | None]]) -> Iterator[str]:
    """Markdown: a row for each command, with the figures of before where there are some."""
    yield f"\n{title}\n"
    yield (
        "| what | wall, s | processor, s | peak, MiB | wall before | of it | processor before "
        "| of it |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for name, (now, before) in pairs.items():
        wall, cpu, mib = (
            statistics.median(getattr(cost, what) for cost in now)
            for what in ("wall", "cpu", "mib")
        )
        cells = [name, f"{wall:.2f}", f"{cpu:.2f}", f"{mib:.0f}"]
        for what in ("wall", "cpu"):
            old = [getattr(cost, what) for cost in before or ()]
            ratios = [getattr(a, what) / b for a, b in zip(now, old, strict=False)]
            cells += [f"{statistics.median(each):.2f}" if each else "" for each in (old, ratios)]
        yield f"| {' | '.join(cells)} |"


def compare(
    args: argparse.Namespace, title: str, words: Mapping[str, Sequence[str]], *,
    rounds: int, warm: bool = False,
) -> None:  # fmt: skip
    """Commands of this tree and, in turns, of the other one; prints the table."""
    commands = {f"{name}, now": (HERE, each) for name, each in words.items()}
    if args.before:
        commands |= {f"{name}, before": (args.before, each) for name, each in words.items()}
    with tempfile.TemporaryDirectory() as folder:
        found = take_turns(commands, rounds, Path(folder), warm)
    pairs = {name: (found[f"{name}, now"], found.get(f"{name}, before")) for name in words}
    print("\n".join(table(title, pairs)), flush=True)


def phases(bundle: Path, image: Path, rounds: int) -> None:
    """Where each millisecond of one image goes, the median over the rounds."""
    columns: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for runtime in ("ort", "openvino"):
            began = time.time()
            done = subprocess.run(
                [sys.executable, "-c", PHASES, str(bundle), runtime, str(image)],
                env={**os.environ, "PYTHONPATH": str(HERE)},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            ended = time.time()
            *lines, last = done.stdout.splitlines()
            rows = columns.setdefault(runtime, {})
            _, end, start = last.split("\t")
            rows.setdefault("start of the interpreter", []).append(1000 * (float(start) - began))
            for line in lines:
                name, value = line.split("\t")
                rows.setdefault(name, []).append(float(value))
            rows.setdefault("end of the process", []).append(1000 * (ended - float(end)))
    print("\n| ms | ONNX Runtime | OpenVINO |\n|---|---|---|")
    medians = {runtime: {k: statistics.median(v) for k, v in rows.items()}
               for runtime, rows in columns.items()}  # fmt: skip
    for name in medians["ort"]:
        print(f"| {name} | {medians['ort'][name]:.1f} | {medians['openvino'][name]:.1f} |")
    sums = [sum(medians[runtime].values()) for runtime in ("ort", "openvino")]
    print(f"| **all** | **{sums[0]:.0f}** | **{sums[1]:.0f}** |", flush=True)


def calibrations(args: argparse.Namespace) -> None:
    """The default calibration, `--search`, and the one of before, with the accuracy of each."""
    shape = ["export", args.checkpoint, "--onnx", "--openvino", "--fp32", "--int8", "--imgsz",
             str(args.imgsz), "--calib", args.calib, "--data", args.data]  # fmt: skip
    commands = {"default": (HERE, shape), "--search": (HERE, [*shape, "--search"])}
    if args.before:
        commands["before"] = (args.before, shape)
    print("\n| calibration | wall, s | processor, s | peak, MiB | points lost, by artifact |")
    print("|---|---|---|---|---|")
    for name, (tree, words) in commands.items():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "bundle")
            cost = measure(tree, [*words, "-o", str(out)], Path(folder))
            print(f"| {name} | {cost.wall:.0f} | {cost.cpu:.0f} | {cost.mib:.0f} | {lost(out)} |",
                  flush=True)  # fmt: skip


def lost(bundle: Path) -> str:
    """Points lost by each int8 artifact of a bundle, with the recipe."""
    import ghost_deploy as gd

    report = gd.Bundle.read(bundle).evidence.int8
    assert report is not None
    return "; ".join(f"{row.form} {row.drop:.2f} ({row.recipe})" for row in report.rows)


def streams(args: argparse.Namespace, bundle: Path, kind: str) -> None:
    """`benchmarks.stream` in fp32 and int8."""
    images = str(Path(args.image).parent)
    for precision in ("fp32", "int8"):
        words = ["-m", "benchmarks.stream", kind, str(bundle), images, "--precision", precision]
        words += ["--seconds", str(args.seconds), "--rounds", str(args.rounds)]
        print(f"\n{kind}, {precision}", flush=True)
        subprocess.run([sys.executable, *words], cwd=HERE, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--calib", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--image", required=True, help="an image; its folder is the stream's")
    parser.add_argument("--bundle", type=Path, help="with fp32 and int8, instead of a new one")
    parser.add_argument("--before", type=Path, help="work tree of the older version")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args()
    args.before = args.before and args.before.resolve()
    for tree in filter(None, (HERE, args.before)):  # as an installed package is
        compileall.compile_dir(tree / "ghost_deploy", quiet=1)
    print(machine(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bundle = args.bundle or Path(folder, "bundle")
        shape = ["export", args.checkpoint, "--onnx", "--openvino", "--fp32"]
        size = ["--imgsz", str(args.imgsz), "--images", args.image]
        if args.bundle is None:
            int8 = ["--int8", "--calib", args.calib, "--data", args.data]
            measure(HERE, [*shape, *size, *int8, "-o", str(bundle)], Path(folder))
        if "infer" in args.only:
            names = {"ONNX Runtime": "ort", "OpenVINO": "openvino"}
            common = bundle
            if args.before:  # a bundle of the older version is read by both
                common = Path(folder, "common")
                measure(args.before, [*shape, *size, "-o", str(common)], Path(folder))
            call = ["infer", str(common), args.image, "--runtime"]
            one = {title: [*call, name] for title, name in names.items()}
            compare(args, "One image on the command line", one, rounds=args.rounds, warm=True)
        if "phases" in args.only:
            phases(bundle, Path(args.image), args.rounds)
        if "inspect" in args.only:
            words = {"inspect": ["inspect", args.checkpoint]}
            compare(args, "inspect", words, rounds=args.rounds, warm=True)
        if "export" in args.only:
            words = {"ONNX + OpenVINO, fp32": [*shape, *size, "-o", "{out}", "--overwrite"]}
            compare(args, "Export with proof", words, rounds=args.rounds)
        if "calibrate" in args.only:
            calibrations(args)
        for kind in ("cameras", "files"):
            if kind in args.only:
                streams(args, bundle, kind)


if __name__ == "__main__":
    main()
