"""Kill commands at random moments and check that nothing is lost, mixed or left behind.

    python tools/faults.py best.pt --images DIR --minutes 30
    python tools/faults.py best.pt --images DIR --kills 20 --commands export,calibrate

Each round starts a command on a bundle, ends it with SIGKILL or SIGTERM after a random part of the
time that it takes, and then checks

- the bundle: the old one or the new one, whole (all hashes), or none where there was none;
- after the next command that writes there: no temporary file or folder is left beside it.

The last line counts the rounds and what was found; the exit code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.leftovers import remove_leftovers

MODULE = (sys.executable, "-m", "ghost_deploy.cli.main")
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


@dataclass
class Workplace:
    """A folder with a finished bundle, and how long each command takes on it.

    Attributes:
        root: of everything.
        checkpoint, images: given by the user.
        seconds: the time of each command, uninterrupted.
    """

    root: Path
    checkpoint: Path
    images: Path
    seconds: dict[str, float]

    @property
    def finished(self) -> Path:
        """The bundle from which each round starts."""
        return self.root / "finished"

    def command(self, name: str, target: Path) -> list[str]:
        """The words of a command that writes the bundle `target`."""
        images = ["--images", str(self.images)]
        words = {
            "export": ["export", str(self.checkpoint), "-o", str(target), *images, "--overwrite"],
            "calibrate": ["calibrate", str(target), "--calib", str(self.images), "--onnx"],
            "parity": ["parity", str(self.checkpoint), str(target), *images],
            "check": ["check", str(target)],
        }
        return [*MODULE, *words[name]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run rounds until the time or the number of kills is reached; the exit code."""
    args = _parse(argv)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="ghost-deploy-faults-") as folder:
        place = Workplace(Path(folder), args.checkpoint.resolve(), args.images.resolve(), {})
        _prepare(place, args.commands)
        end, chance = time.monotonic() + 60 * args.minutes, random.Random(args.seed)
        while counts["rounds"] < args.kills if args.kills else time.monotonic() < end:
            faults = _round(place, chance.choice(args.commands), chance, counts)
            counts["rounds"] += 1
            counts["faults"] += len(faults)
            for fault in faults:
                print(f"FAULT round {counts['rounds']}: {fault}", flush=True)
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    return 1 if counts["faults"] else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="a folder of images, a few")
    parser.add_argument("--minutes", type=float, default=30, help="how long (default: 30)")
    parser.add_argument("--kills", type=int, default=0, help="this many rounds instead")
    parser.add_argument("--commands", type=lambda text: text.split(","), default="export,parity")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if isinstance(args.commands, str):
        args.commands = args.commands.split(",")
    return args


def _prepare(place: Workplace, commands: Sequence[str]) -> None:
    for name in ("export", *(each for each in commands if each != "export")):
        started = time.monotonic()
        done = subprocess.run(place.command(name, place.finished), capture_output=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{name} fails without any fault:\n{done.stderr.decode()}")
        place.seconds[name] = time.monotonic() - started
        print(f"{name}: {place.seconds[name]:.1f} s uninterrupted", flush=True)


def _round(place: Workplace, name: str, chance: random.Random, counts: Counter[str]) -> list[str]:
    """Kill one command once; what was found wrong."""
    folder = place.root / "round"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    target, fresh = folder / "bundle", name == "export" and chance.random() < 0.5
    if not fresh:
        shutil.copytree(place.finished, target)
    number = chance.choice(SIGNALS)
    child = subprocess.Popen(
        place.command(name, target), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        child.wait(timeout=chance.uniform(0, 1.05) * place.seconds[name])
        counts["had ended"] += 1
    except subprocess.TimeoutExpired:
        child.send_signal(number)
        child.wait()
        counts[f"killed by {number.name}"] += 1
    what = f"{name} {number.name} {'into a new folder' if fresh else 'over a bundle'}"
    left = [path.name for path in folder.iterdir() if path != target]
    faults = []
    if left and number == signal.SIGTERM:
        faults.append(f"{what}: SIGTERM left {left}")
    counts["left litter"] += bool(left)
    remove_leftovers(folder)  # as the next command that writes there does first
    faults += [f"{what}: {fault}" for fault in _faults(folder, target, fresh)]
    return faults


def _faults(folder: Path, target: Path, fresh: bool) -> list[str]:
    faults = [f"{path.name} was left" for path in folder.iterdir() if path != target]
    if not target.exists():
        return faults if fresh else [*faults, "the old bundle is gone"]
    hidden = [path.name for path in target.rglob(".*")]
    if hidden:
        faults.append(f"in the bundle {hidden} were left")
    try:
        bundle = Bundle.read(target, verify=True)
        bundle.evidence_files()
        _ = bundle.evidence.parity
    except GhostDeployError as error:
        faults.append(f"the bundle is damaged: {error}")
    return faults


if __name__ == "__main__":
    sys.exit(main())
