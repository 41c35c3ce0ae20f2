"""Kill commands at random moments and check that nothing is lost, mixed or left behind.

    python tools/faults.py --minutes 30
    python tools/faults.py --kills 20 --commands export,calibrate
    python tools/faults.py best.pt --images DIR --minutes 30

Each round starts a command, ends it with SIGKILL or SIGTERM after a random part of the time that it
takes, or just after it has begun to write, and then checks

- the bundle: the old one or the new one, whole (all hashes, the artifacts of the one or the other),
  or none where there was none;
- the results of `stream`: whole lines but for the last, images that decode, a video that opens;
- the processes that it started: none lives on;
- what is left beside the bundle, in the cache and in the temporary folder: nothing after SIGTERM,
  and nothing after the next run of the command, which is done at the end.

Without a checkpoint it takes the built-in detector and its scenes. `build` runs on the strict fake
of TensorRT of the test suite. The last line counts the rounds and what was found; the exit code is
1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.leftovers import remove_leftovers
from ghost_deploy.demo.embedded import MODEL_FILE
from ghost_deploy.demo.scene_files import LABELS, write_scenes
from tools.gpu_check import pretend_gpu

MODULE = (sys.executable, "-m", "ghost_deploy.cli.main")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
COMMANDS = ("export", "calibrate", "build", "validate", "stream")
_SCENES = range(9_000, 9_008)
_TENSORRT = "10.13"
_SIDE = 64  # of the input: what is computed is small, what is written is the same
_MARK = ".ghost-deploy-"
_ENDS_WITHIN_S = 30.0
_WRITING_S = 0.3
_OF_OTHERS = "torchinductor_"
"""Begin of the name of a folder that torch keeps in the temporary folder."""


@dataclass
class Workplace:
    """A folder with a finished bundle, and how long each command takes on it.

    Attributes:
        root: of everything.
        checkpoint, images, labels: to work on.
        seconds: the time of each command, uninterrupted.
        new: the ids of the artifacts that each command leaves, uninterrupted.
    """

    root: Path
    checkpoint: Path
    images: Path
    labels: Path
    seconds: dict[str, float] = field(default_factory=dict)
    new: dict[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.temporary.mkdir()
        self.cache.mkdir()
        write_video(self.root / "video.mp4", self.images)
        self.environment = {
            **os.environ,
            **pretend_gpu(_TENSORRT, self.root),
            "TMPDIR": str(self.temporary),
            "XDG_CACHE_HOME": str(self.cache),
        }

    @property
    def finished(self) -> Path:
        """The bundle from which each round starts."""
        return self.root / "finished"

    @property
    def temporary(self) -> Path:
        """The temporary folder of the commands."""
        return self.root / "tmp"

    @property
    def cache(self) -> Path:
        """The cache of the commands."""
        return self.root / "cache"

    def command(self, name: str, target: Path) -> list[str]:
        """The words of a command that reads or writes the bundle `target`."""
        images, place = str(self.images), target.parent
        words = {
            "export": [
                *("export", str(self.checkpoint), "-o", str(target), "--images", images),
                *("--imgsz", str(_SIDE), "--onnx", "--openvino", "--overwrite"),
            ],
            "calibrate": [
                *("calibrate", str(target), "--calib", images, "--onnx", "--no-speed"),
                "--allow-small-calibration",
            ],
            "build": ["build", str(target), "--trt", "--fp16"],
            "validate": ["validate", str(target), "--data", str(self.labels)],
            "check": ["check", str(target)],
            "stream": [
                *("infer", str(target), str(self.root / "video.mp4"), "-o", str(place / "videos")),
                *("--jsonl", str(place / "lines.jsonl"), "--snapshots", str(place / "snapshots")),
            ],
        }
        return [*MODULE, *words[name]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run rounds until the time or the number of kills is reached; the exit code."""
    args = _parse(argv)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        place = _workplace(Path(folder), args)
        _prepare(place, args.commands)
        end, chance = time.monotonic() + 60 * args.minutes, random.Random(args.seed)
        faults = 0
        while counts["rounds"] < args.kills if args.kills else time.monotonic() < end:
            # In turn: at random a slow command would be drawn too seldom for a verdict.
            name = args.commands[counts["rounds"] % len(args.commands)]
            found = _round(place, name, chance, counts)
            counts["rounds"] += 1
            faults += _told(found)
            if counts["rounds"] % 25 == 0:
                print(f"{counts['rounds']} rounds, {faults} faults", flush=True)
        faults += _told(_after_next_runs(place, args.commands))
    counts["faults"] = faults
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return 1 if faults else 0


def _told(faults: Sequence[str]) -> int:
    for fault in faults:
        print(f"FAULT: {fault}", flush=True)
    return len(faults)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, nargs="?", help="default: the built-in detector")
    parser.add_argument("--images", type=Path, help="a folder of images, a few")
    parser.add_argument("--labels", type=Path, help="data.yaml or COCO JSON, for validate")
    parser.add_argument("--minutes", type=float, default=30, help="how long (default: 30)")
    parser.add_argument("--kills", type=int, default=0, help="this many rounds instead")
    parser.add_argument("--commands", default=",".join(COMMANDS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    args.commands = args.commands.split(",")
    if args.checkpoint and not args.images:
        parser.error("--images is needed")
    if args.checkpoint and "validate" in args.commands and not args.labels:
        parser.error("--labels is needed for validate")
    return args


def _workplace(root: Path, args: argparse.Namespace) -> Workplace:
    if args.checkpoint:
        labels = args.labels.resolve() if args.labels else root
        return Workplace(root, args.checkpoint.resolve(), args.images.resolve(), labels)
    scenes = root / "scenes"
    write_scenes(scenes, _SCENES)
    return Workplace(root, MODEL_FILE, scenes / "images", scenes / LABELS)


def write_video(target: Path, images: Path, frames: int = 120) -> None:
    """Write a video that shows the images of a folder in turn, all in the size of the first."""
    found = [cv2.imread(str(path)) for path in sorted(images.iterdir())]
    shown = [image for image in found if image is not None]
    height, width = shown[0].shape[:2]
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 30, (width, height))
    for index in range(frames):
        writer.write(cv2.resize(shown[index % len(shown)], (width, height)))
    writer.release()


def _prepare(place: Workplace, commands: Sequence[str]) -> None:
    """Make the bundle, and run each command once to the end on a copy of it."""
    _complete(place, "export", place.finished)
    for name in commands:
        with _round_folder(place) as target:
            shutil.copytree(place.finished, target)
            place.seconds[name] = _complete(place, name, target)
            place.new[name] = _ids(target)
        print(f"{name}: {place.seconds[name]:.1f} s uninterrupted", flush=True)


def _complete(place: Workplace, name: str, target: Path) -> float:
    """Run a command to its end; the seconds that it took."""
    started = time.monotonic()
    done = subprocess.run(
        place.command(name, target), capture_output=True, check=False, env=place.environment
    )
    if done.returncode not in (0, 1):  # 1: a gate, e.g. of a detector in another size
        raise SystemExit(f"{name} fails without any fault:\n{done.stderr.decode()}")
    return time.monotonic() - started


class _round_folder:  # noqa: N801
    """A fresh folder for one round; gives the place of its bundle."""

    def __init__(self, place: Workplace) -> None:
        self.folder = place.root / "round"

    def __enter__(self) -> Path:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        return self.folder / "bundle"

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _round(place: Workplace, name: str, chance: random.Random, counts: Counter[str]) -> list[str]:
    """Kill one command once; what was found wrong."""
    with _round_folder(place) as target:
        fresh = name == "export" and chance.random() < 0.5
        if not fresh:
            shutil.copytree(place.finished, target)
        before = set(_litter(place))
        number = chance.choice(SIGNALS)
        child = subprocess.Popen(
            place.command(name, target),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=place.environment,
            start_new_session=True,
        )
        _wait(child, target, place.seconds[name], chance)
        ended = child.poll() is not None
        if not ended:
            child.send_signal(number)
        messages = child.stderr.read().decode("utf-8", "replace") if child.stderr else ""
        code = child.wait()
        counts[f"{name}: " + ("had ended" if ended else number.name)] += 1
        what = f"{name} {number.name} {'into a new folder' if fresh else 'over a bundle'}"
        faults = _outlived(child.pid)
        # Before the handler is there, and when all is done and it has gone, SIGTERM ends Python.
        if not ended and number == signal.SIGTERM and code not in (0, 1, 143, -number):
            faults.append(f"exit code {code} of {number.name}: {messages[-2000:]}")
        left = sorted(set(_litter(place)) - before)
        if left and number == signal.SIGTERM:
            faults.append(f"SIGTERM left {left}")
        counts["left something"] += bool(left)
        faults += _bundle_faults(place, name, target, fresh)
        faults += _result_faults(target.parent) if name == "stream" else []
        if (target.parent / "bundle").exists() or fresh:
            faults += _carry_on(target)
        return [f"{what}: {fault}" for fault in faults]


def _wait(
    child: subprocess.Popen[bytes], target: Path, seconds: float, chance: random.Random
) -> None:
    """Wait for a random moment: of all the time, or soon after the first file is begun."""
    limit = time.monotonic() + chance.uniform(0, 1.05) * seconds
    if chance.random() < 0.5:
        limit = time.monotonic() + 1.05 * seconds
        pause = chance.uniform(0, _WRITING_S)
        while child.poll() is None and time.monotonic() < limit:
            if any(_MARK in path.name for path in target.parent.iterdir()):
                time.sleep(pause)
                return
            time.sleep(0.002)
        return
    while child.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)


def _outlived(session: int) -> list[str]:
    """Processes of a command that live on after it; they are ended."""
    limit = time.monotonic() + _ENDS_WITHIN_S
    while (left := _of_session(session)) and time.monotonic() < limit:
        time.sleep(0.1)
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    return [f"process {name!r} lives on" for _, name in left]


def _of_session(session: int) -> list[tuple[int, str]]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name, _, rest = (folder / "stat").read_text().rpartition(")")
            except OSError:  # it has ended
                continue
            state, _, _, its_session = rest.split()[:4]
            if int(its_session) == session and state != "Z":
                found.append((int(folder.name), name.partition("(")[2]))
    return found


def _litter(place: Workplace) -> Iterator[str]:
    """Temporary files and folders of ours, and all in the temporary folder."""
    for path in sorted(place.root.rglob("*")):
        inside = path.parent == place.temporary and not path.name.startswith(_OF_OTHERS)
        if inside or (_MARK in path.name and _MARK not in str(path.parent.relative_to(place.root))):
            yield str(path.relative_to(place.root))


def _carry_on(target: Path) -> list[str]:
    """Do what the next command that writes there does first; what is left then."""
    remove_leftovers(target.parent)
    left = [path.name for path in target.parent.iterdir() if _MARK in path.name]
    return [f"{left} beside the bundle after the next one came"] if left else []


def _after_next_runs(place: Workplace, commands: Sequence[str]) -> list[str]:
    """What is left anywhere after each command has run once more, to its end."""
    for name in commands:
        with _round_folder(place) as target:
            shutil.copytree(place.finished, target)
            _complete(place, name, target)
    return [f"{name} is left after the next run" for name in _litter(place)]


def _ids(target: Path) -> frozenset[str]:
    return frozenset(artifact.id for artifact in Bundle.read(target).artifacts)


def _bundle_faults(place: Workplace, name: str, target: Path, fresh: bool) -> list[str]:
    """What is wrong with the bundle after a death, before any other command came."""
    if not target.exists():
        return [] if fresh else ["the old bundle is gone"]
    hidden = [path.name for path in target.rglob(".*")]
    faults = [f"in the bundle {hidden} were left"] if hidden else []
    try:
        bundle = Bundle.read(target, verify=True)
        bundle.evidence_files()
        _ = bundle.evidence.parity
    except GhostDeployError as error:
        return [*faults, f"the bundle is damaged: {error}"]
    ids, old = frozenset(artifact.id for artifact in bundle.artifacts), _ids(place.finished)
    if ids not in (place.new[name], old):
        faults.append(f"neither the old bundle nor the new one: {sorted(ids)}")
    return faults


def _result_faults(folder: Path) -> list[str]:
    """What is wrong with the lines, snapshots and videos of a killed `stream`."""
    faults = []
    lines = folder / "lines.jsonl"
    if lines.exists():
        *whole, _ = lines.read_bytes().split(b"\n")
        for number, line in enumerate(whole):
            try:
                json.loads(line)
            except ValueError:
                faults.append(f"line {number} of {len(whole)} is damaged")
    for path in (folder / "snapshots").glob("*.jpg"):
        if cv2.imread(str(path)) is None:
            faults.append(f"the snapshot {path.name} does not decode")
    for path in (folder / "videos").glob("*.mp4"):
        video = cv2.VideoCapture(str(path))
        if path.stat().st_size > 1 << 17 and not video.read()[0]:
            faults.append(f"the video {path.name} of {path.stat().st_size} bytes does not open")
        video.release()
    return faults


if __name__ == "__main__":
    sys.exit(main())
