"""Kill runs over an archive at random moments, and count the rows at the end.

    python tools/batch_faults.py --images 20000 --kills 50
    python tools/batch_faults.py --engine ray --images 20000 --kills 50
    python tools/batch_faults.py --kinds disk,store

Kinds: `driver` (SIGKILL, SIGTERM or SIGINT to the command), `worker` (SIGKILL to one of its
processes; to an actor of Ray), `node` (one of two nodes of a local Ray cluster is removed without
grace and another one added), `disk` (a file system that is full in the middle), `store` (an S3
bucket on loopback that answers 503, drops connections, and revokes the credentials in the middle).

One archive of small images and videos is done by one output folder over all kills. At the end the
command runs once more in peace, and then every key must have one row: none twice, none missing; no
file may be half, and no process may live on. The exit code is 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.batch_faults_processes import all_workers, patience_s, wait_until, workers_of
from tools.batch_faults_rows import check_files, check_rows, count_parts, is_complete
from tools.batch_faults_storage import fail_store, fill_disk
from tools.batch_faults_workplace import ROOT, Faults, Workplace, make_workplace
from tools.ray_nodes import RemovableNodes

KINDS = ("driver", "worker", "node", "disk", "store")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; the exit code."""
    args = _parse(argv)
    # A shell lets what it starts in the background ignore it, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faults, chance = Faults(), random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="batch-faults-") as folder:
        place = make_workplace(Path(folder), args)
        kills = [kind for kind in args.kinds if kind in ("driver", "worker", "node")]
        if kills:
            _kill_until_done(place, args, kills, chance, faults)
        if "disk" in args.kinds:
            fill_disk(place, faults)
        if "store" in args.kinds:
            fail_store(place, faults)
    print(", ".join(f"{count} {what}" for what, count in sorted(faults.counts.items())))
    print(f"{len(faults.wrong)} faults")
    return 1 if faults.wrong else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=20_000, help="images and frames of videos")
    parser.add_argument("--kills", type=int, default=50, help="at least so many")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--kinds", default="", help="of faults, with commas (default: all)")
    parser.add_argument("--bundle", type=Path, help="a small one (default: the built-in model)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    usual = "driver,worker,disk,store" if args.engine == "local" else "driver,worker,node"
    args.kinds = (args.kinds or usual).split(",")
    for kind in args.kinds:
        if kind not in KINDS:
            parser.error(f"there is no kind {kind}")
    return args


def _kill_until_done(
    place: Workplace,
    args: argparse.Namespace,
    kinds: list[str],
    chance: random.Random,
    faults: Faults,
) -> None:
    out = place.root / "out"
    more = ["--engine", args.engine, "--workers", str(args.workers), "--part-rows", "50"]
    with _cluster(args, faults) as cluster:
        if cluster:
            more += ["--address", cluster.address]
        for kill in range(1000 * args.kills):
            if faults.counts["kills"] >= args.kills or is_complete(out):
                break
            command = subprocess.Popen(
                place.words(out, *more),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=(place.root / "messages").open("ab"),
                start_new_session=True,
            )
            _kill_during(command, out, kinds, chance, cluster, faults, args, kill)
            check_files(out, faults)
        faults.check(
            faults.counts["kills"] >= args.kills,
            f"the archive was done after {faults.counts['kills']} kills: take more images",
        )
        done = subprocess.run(
            place.words(out, *more), cwd=ROOT, capture_output=True, text=True, check=False
        )
        faults.check(done.returncode == 0, f"the last run: {done.returncode} {done.stderr[-600:]}")
    check_rows(place.expected(), out, place.broken, faults)


def _kill_during(
    command: subprocess.Popen[bytes],
    out: Path,
    kinds: list[str],
    chance: random.Random,
    cluster: Any,
    faults: Faults,
    args: argparse.Namespace,
    number: int,
) -> None:
    """Kill at random moments until the command has ended."""
    kind = kinds[number % len(kinds)]
    before = count_parts(out)
    # Sometimes in the start, mostly once it writes.
    if chance.random() < 0.8:
        wait_until(lambda: count_parts(out) > before or command.poll() is not None, patience_s())
    time.sleep(chance.random() * 2)
    while command.poll() is None and faults.counts["kills"] < args.kills:
        if kind == "driver":
            sent = chance.choice(SIGNALS)
            command.send_signal(sent)
            faults.counts[f"{sent.name} to the driver"] += 1
            faults.counts["kills"] += 1
            if not wait_until(lambda: command.poll() is not None, patience_s()):
                faults.check(False, f"the driver did not end after {sent.name}")
                command.kill()
            break
        if kind == "worker":
            pids = workers_of(command.pid, args.engine)
            if pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(pids), signal.SIGKILL)
                    faults.counts["workers killed"] += 1
                    faults.counts["kills"] += 1
        else:
            cluster.replace_node()
            faults.counts["nodes removed"] += 1
            faults.counts["kills"] += 1
        # Several in one run, then the driver again.
        time.sleep(0.3 + chance.random() * (2 if args.engine == "local" else 8))
        if chance.random() < 0.2:
            kind = "driver"
    command.wait(patience_s() * 10)
    faults.counts["runs"] += 1
    print(f"{faults.counts['kills']} kills, {count_parts(out)} parts", flush=True)
    if args.engine == "local":
        left = [pid for pid in all_workers() if pid != os.getpid()]
        wait_until(lambda: not all_workers(), patience_s())
        faults.check(not all_workers(), f"{len(left)} workers live on")


@contextlib.contextmanager
def _cluster(args: argparse.Namespace, faults: Faults) -> Iterator[Any]:
    if args.engine == "local":
        yield None
        return

    def told(what: str) -> None:
        faults.counts["starts of a node tried again"] += 1
        print(what, flush=True)

    cluster = RemovableNodes(max(1, args.workers // 2), told)
    try:
        yield cluster
    finally:
        cluster.close()


# A full disk, a failing store


if __name__ == "__main__":
    sys.exit(main())
