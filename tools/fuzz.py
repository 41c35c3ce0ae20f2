"""Change what ghost-deploy reads, and check that it refuses or gives what it gave before.

    python tools/fuzz.py --minutes 30
    python tools/fuzz.py --minutes 5 --targets bundle,image --seed 7 --findings DIR
    python tools/fuzz.py --only image:1234          # one case again, in this process

Each case takes a valid input of a target (tools/fuzz_targets.py), changes it at random places and
reads it. Allowed are our own errors (`GhostDeployError`) and results; of targets that a hash or a
signature covers only the result of the unchanged input. Everything else is a finding: any other
exception, the death of the process, a case that takes over 20 s, and one that takes over 400 MB.

The cases run in a process of their own. A case depends on its target, its number and the seed
alone. Each finding is written to `--findings` as the input, with what happened beside it. The last
lines count the cases of each target; the exit code is 1 if there was a finding.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.parent_death import end_with_parent, parent_mark
from ghost_deploy.judge.bench.memory import peak_memory_bytes
from tools.fuzz_changes import change
from tools.fuzz_targets import TARGETS, Target

SLOW_S, HANGS_S = 20.0, 300.0
MOST_MIB = 400
_BATCH_S = 2.0  # of one target, before the next has its turn


class NotAllowedError(Exception):
    """A result that is not allowed."""


def run_case(target: Target, seed: int, number: int) -> str:
    """Run one case; `error` or `result`.

    Raises:
        NotAllowedError: it is not the result of the unchanged input, or the case is slow or large.
        Exception: any other that the target raised.
    """
    data = case_of(target, seed, number)
    _forget_peak()
    before, started = peak_memory_bytes(), time.process_time()
    try:
        result = target.run(data)
    except GhostDeployError:
        kind = "error"
    else:
        kind = "result"
        if target.exact and result != target.expected:
            raise NotAllowedError(
                f"another result than that of the unchanged input: {result!r:.300}"
            )
    if (seconds := time.process_time() - started) > SLOW_S:
        raise NotAllowedError(f"it takes {seconds:.1f} s of processor time")
    if (grown := (peak_memory_bytes() - before) / 2**20) > MOST_MIB:
        raise NotAllowedError(f"the peak of memory grew by {grown:.0f} MiB")
    return kind


def case_of(target: Target, seed: int, number: int) -> bytes:
    """The input of a case."""
    chance = random.Random(f"{target.name}:{seed}:{number}")
    return change(chance.choice(target.inputs), chance, target)


def _forget_peak() -> None:
    """Let the peak begin again at the memory in use: else only the largest case so far is seen."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def work(names: Sequence[str], seed: int, first: int, seconds: float, current: Path) -> None:
    """Run cases of each target in turn and print a JSON line for each batch and finding.

    `current` holds the input of the case that runs, in case the process dies.
    """
    numbers = dict.fromkeys(names, first)
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(TARGETS[name]()) for name in names]
        end = time.monotonic() + seconds
        # At least one case of each, however short the time is.
        while True:
            for target in targets:
                batch = min(end, time.monotonic() + _BATCH_S)
                _work_on(target, seed, numbers, batch, current)
            if time.monotonic() >= end:
                return


def _work_on(target: Target, seed: int, numbers: dict[str, int], end: float, current: Path) -> None:
    counts: Counter[str] = Counter()
    while not counts or time.monotonic() < end:
        number = numbers[target.name]
        numbers[target.name] += 1
        current.write_bytes(case_of(target, seed, number))
        _say(begun=[target.name, number])
        try:
            counts[run_case(target, seed, number)] += 1
        except Exception:
            counts["finding"] += 1
            _say(finding=[target.name, number, traceback.format_exc()])
    _say(target=target.name, counts=counts)


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Fuzz:
    """Runs workers one after another, until the time is over, and counts.

    Args:
        names: of the targets.
        seed: of all cases.
        findings: folder for findings.
    """

    def __init__(self, names: Sequence[str], seed: int, findings: Path) -> None:
        self.names, self.seed, self.findings = list(names), seed, findings
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in names}
        self._first = 0

    def run(self, seconds: float) -> None:
        """Run for so many seconds; a worker that dies is a finding, and another goes on."""
        end = time.monotonic() + seconds
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            current = Path(folder) / "current"
            while (left := end - time.monotonic()) > 0:
                self._run_worker(left, current)
                self._first += 1_000_000

    @property
    def found(self) -> int:
        """The number of findings."""
        return sum(each["finding"] for each in self.counts.values())

    def _run_worker(self, seconds: float, current: Path) -> None:
        words = [sys.executable, __file__, "--worker", str(current), "--seed", str(self.seed)]
        words += ["--first", str(self._first), "--minutes", str(seconds / 60)]
        words += ["--targets", ",".join(self.names)]
        with subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # What a worker that dies leaves goes with the folder of this process.
            env={**os.environ, **parent_mark(), "TMPDIR": str(current.parent)},
        ) as child:
            assert child.stderr is not None
            errors: list[str] = []
            reader = threading.Thread(target=lambda: errors.extend(child.stderr or ()))
            reader.start()
            last = self._follow(child)
            code = child.wait()
            reader.join()
        if code and not current.exists():
            raise SystemExit(f"the targets cannot be set up:\n{''.join(errors)[-4000:]}")
        if code:
            self.counts[last[0]]["finding"] += 1
            why = f"the process ended with {code}\n{''.join(errors)[-4000:]}"
            self._write(last[0], last[1], current.read_bytes(), why)

    def _follow(self, child: subprocess.Popen[str]) -> tuple[str, int]:
        """Read what a worker says; the case that it began last. One that hangs is killed."""
        last = (self.names[0], self._first)
        watch = _Watch(child)
        for line in child.stdout or ():
            facts: dict[str, Any] = json.loads(line)
            watch.touch()
            if "begun" in facts:
                last = (facts["begun"][0], facts["begun"][1])
            elif "finding" in facts:
                name, number, why = facts["finding"]
                self._write(name, number, case_of(_opened(name), self.seed, number), why)
            else:
                self.counts[facts["target"]].update(facts["counts"])
        watch.stop()
        return last

    def _write(self, name: str, number: int, data: bytes, why: str) -> None:
        self.findings.mkdir(parents=True, exist_ok=True)
        place = self.findings / f"{name}-{self.seed}-{number}"
        place.write_bytes(data)
        text = f"python tools/fuzz.py --seed {self.seed} --only {name}:{number}\n\n{why}"
        place.with_suffix(".txt").write_text(text)
        print(f"FINDING {place}: {why.strip().splitlines()[-1][:200]}", flush=True)

    def lines(self) -> Iterator[str]:
        """The counts of each target."""
        for name, counts in self.counts.items():
            total = sum(counts.values())
            yield f"{name}: {total} cases, {counts['error']} refused, {counts['finding']} findings"
        total = sum(sum(counts.values()) for counts in self.counts.values())
        yield f"all: {total} cases, {self.found} findings"


class _Watch:
    """Kills a process of which nothing was heard for `HANGS_S`."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child
        self._timer = threading.Timer(HANGS_S, child.kill)
        self._timer.start()

    def touch(self) -> None:
        self.stop()
        self._timer = threading.Timer(HANGS_S, self._child.kill)
        self._timer.start()

    def stop(self) -> None:
        self._timer.cancel()


_open: dict[str, Target] = {}


def _opened(name: str) -> Target:
    """A target whose inputs are needed once more."""
    if name not in _open:
        _open[name] = TARGETS[name]()
    return _open[name]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--findings", type=Path, default=Path("out/fuzz"))
    parser.add_argument("--only", metavar="TARGET:NUMBER")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.targets = args.targets.split(",")
    for name in args.targets:
        if name not in TARGETS:
            parser.error(f"no target {name}: there are {', '.join(TARGETS)}")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz, or run one case again; the exit code."""
    args = _parse(argv)
    if args.worker:
        end_with_parent()
        work(args.targets, args.seed, args.first, 60 * args.minutes, args.worker)
        return 0
    if args.only:
        name, _, number = args.only.partition(":")
        with TARGETS[name]() as target:
            print(run_case(target, args.seed, int(number)))
        return 0
    fuzz = Fuzz(args.targets, args.seed, args.findings)
    fuzz.run(60 * args.minutes)
    print("\n".join(fuzz.lines()))
    return 1 if fuzz.found else 0


if __name__ == "__main__":
    sys.exit(main())
