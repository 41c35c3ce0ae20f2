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
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.faults_left import (
    MARK,
    artifact_ids,
    bundle_faults,
    carry_on,
    litter,
    outlived,
    result_faults,
)
from tools.faults_workplace import RoundFolder, Workplace, make_workplace, run_to_end

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
COMMANDS = ("export", "calibrate", "build", "validate", "stream")
_WRITING_S = 0.3


def main(argv: Sequence[str] | None = None) -> int:
    """Run rounds until the time or the number of kills is reached; the exit code."""
    args = _parse(argv)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        place = make_workplace(Path(folder), args)
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


def _prepare(place: Workplace, commands: Sequence[str]) -> None:
    """Make the bundle, and run each command once to the end on a copy of it."""
    run_to_end(place, "export", place.finished)
    for name in commands:
        with RoundFolder(place) as target:
            shutil.copytree(place.finished, target)
            place.seconds[name] = run_to_end(place, name, target)
            place.new[name] = artifact_ids(target)
        print(f"{name}: {place.seconds[name]:.1f} s uninterrupted", flush=True)


def _round(place: Workplace, name: str, chance: random.Random, counts: Counter[str]) -> list[str]:
    """Kill one command once; what was found wrong."""
    with RoundFolder(place) as target:
        fresh = name == "export" and chance.random() < 0.5
        if not fresh:
            shutil.copytree(place.finished, target)
        before = set(litter(place))
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
        messages = child.communicate()[1].decode("utf-8", "replace")
        code = child.returncode
        counts[f"{name}: " + ("had ended" if ended else number.name)] += 1
        what = f"{name} {number.name} {'into a new folder' if fresh else 'over a bundle'}"
        faults = outlived(child.pid)
        # Before the handler is there, and when all is done and it has gone, SIGTERM ends Python.
        if not ended and number == signal.SIGTERM and code not in (0, 1, 143, -number):
            faults.append(f"exit code {code} of {number.name}: {messages[-2000:]}")
        left = sorted(set(litter(place)) - before)
        if left and number == signal.SIGTERM:
            faults.append(f"SIGTERM left {left}")
        counts["left something"] += bool(left)
        faults += bundle_faults(place, name, target, fresh)
        faults += result_faults(target.parent) if name == "stream" else []
        if (target.parent / "bundle").exists() or fresh:
            faults += carry_on(target)
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
            if any(MARK in path.name for path in target.parent.iterdir()):
                time.sleep(pause)
                return
            time.sleep(0.002)
        return
    while child.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)


def _after_next_runs(place: Workplace, commands: Sequence[str]) -> list[str]:
    """What is left anywhere after each command has run once more, to its end."""
    for name in commands:
        with RoundFolder(place) as target:
            shutil.copytree(place.finished, target)
            run_to_end(place, name, target)
    return [f"{name} is left after the next run" for name in litter(place)]


if __name__ == "__main__":
    sys.exit(main())
