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
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ghost_deploy.demo.embedded import MODEL_FILE
from tests.support.object_store import BUCKET, object_store, put
from tools.ray_nodes import RemovableNodes, processes_below

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("driver", "worker", "node", "disk", "store")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_SIDE = 64
_VIDEO_FRAMES = 250
_ENDS_WITHIN_S = 60.0
"""On a quiet machine; on a busy one as much longer as there is work for its cores."""


@dataclass
class Workplace:
    """A bundle and an archive.

    Attributes:
        root: of everything.
        bundle: a small model.
        images: how many there are.
        videos: how many there are; they take the place of a tenth of the images.
        broken: images that cannot be read.
    """

    root: Path
    bundle: Path
    images: int
    videos: int = 0
    broken: int = 0

    @property
    def archive(self) -> Path:
        """The folder of the sources."""
        return self.root / "archive"

    def expected(self) -> set[tuple[str, int]]:
        """The keys of all rows."""
        names = [str(self.archive / f"{k % 50}" / f"{k}.jpg") for k in range(self.images)]
        keys = {(name, 0) for name in names}
        for number in range(self.videos):
            keys |= {(str(self.archive / f"{number}.avi"), k) for k in range(_VIDEO_FRAMES)}
        return keys

    def words(self, out: Path | str, *more: str) -> list[str]:
        """The words of the command."""
        return [
            *(sys.executable, "-m", "ghost_deploy.cli.main", "batch", str(self.bundle)),
            *(str(self.archive), "-o", str(out), "--runtime", "ort", "--no-check", "--json"),
            *more,
        ]


@dataclass
class Faults:
    """What was counted and what was wrong."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def check(self, is_right: bool, what: str) -> None:
        """Note a fault."""
        if not is_right:
            self.wrong.append(what)
            print(f"FAULT: {what}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; the exit code."""
    args = _parse(argv)
    # A shell lets what it starts in the background ignore it, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faults, chance = Faults(), random.Random(args.seed)
    with tempfile.TemporaryDirectory(prefix="batch-faults-") as folder:
        place = _workplace(Path(folder), args)
        kills = [kind for kind in args.kinds if kind in ("driver", "worker", "node")]
        if kills:
            _kill_until_done(place, args, kills, chance, faults)
        if "disk" in args.kinds:
            _full_disk(place, faults)
        if "store" in args.kinds:
            _failing_store(place, faults)
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


def _workplace(root: Path, args: argparse.Namespace) -> Workplace:
    bundle = args.bundle or root / "bundle"
    if not args.bundle:
        from ghost_deploy.demo.scene_files import write_scenes

        scenes = write_scenes(root / "scenes", range(9_000, 9_004))
        words = [sys.executable, "-m", "ghost_deploy.cli.main", "export", str(MODEL_FILE)]
        words += ["-o", str(bundle), "--images", str(scenes[0].parent), "--imgsz", str(_SIDE)]
        subprocess.run([*words, "--onnx"], check=True, cwd=ROOT)
    videos = args.images // 10 // _VIDEO_FRAMES
    place = Workplace(
        root, bundle, args.images - videos * _VIDEO_FRAMES, videos, args.images // 1000
    )
    chance = np.random.default_rng(args.seed)
    for number in range(place.images):
        path = place.archive / f"{number % 50}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < place.broken:
            path.write_bytes(b"broken")
            continue
        image = chance.integers(0, 256, (_SIDE // 4, _SIDE // 4, 3), np.uint8)
        cv2.imwrite(str(path), cv2.resize(image, (_SIDE, _SIDE)))
    for number in range(videos):
        name = str(place.archive / f"{number}.avi")
        writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"MJPG"), 25, (_SIDE, _SIDE))
        for _ in range(_VIDEO_FRAMES):
            writer.write(chance.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8))
        writer.release()
    return place


# Kills


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
            if faults.counts["kills"] >= args.kills or _is_complete(out):
                break
            command = subprocess.Popen(
                place.words(out, *more),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=(place.root / "messages").open("ab"),
                start_new_session=True,
            )
            _kill_during(command, out, kinds, chance, cluster, faults, args, kill)
            _check_files(out, faults)
        faults.check(
            faults.counts["kills"] >= args.kills,
            f"the archive was done after {faults.counts['kills']} kills: take more images",
        )
        done = subprocess.run(
            place.words(out, *more), cwd=ROOT, capture_output=True, text=True, check=False
        )
        faults.check(done.returncode == 0, f"the last run: {done.returncode} {done.stderr[-600:]}")
    _check_rows(place.expected(), out, place.broken, faults)


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
    before = _parts(out)
    # Sometimes in the start, mostly once it writes.
    if chance.random() < 0.8:
        _wait(lambda: _parts(out) > before or command.poll() is not None, _patience_s())
    time.sleep(chance.random() * 2)
    while command.poll() is None and faults.counts["kills"] < args.kills:
        if kind == "driver":
            sent = chance.choice(SIGNALS)
            command.send_signal(sent)
            faults.counts[f"{sent.name} to the driver"] += 1
            faults.counts["kills"] += 1
            if not _wait(lambda: command.poll() is not None, _patience_s()):
                faults.check(False, f"the driver did not end after {sent.name}")
                command.kill()
            break
        if kind == "worker":
            pids = _workers_of(command.pid, args.engine)
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
    command.wait(_patience_s() * 10)
    faults.counts["runs"] += 1
    print(f"{faults.counts['kills']} kills, {_parts(out)} parts", flush=True)
    if args.engine == "local":
        left = [pid for pid in _all_workers() if pid != os.getpid()]
        _wait(lambda: not _all_workers(), _patience_s())
        faults.check(not _all_workers(), f"{len(left)} workers live on")


def _workers_of(driver: int, engine: str) -> list[int]:
    if engine == "ray":
        found = _pids(lambda line, _: line.startswith("ray::"), "MapWorker")
        return sorted({*found} & {*processes_below(os.getpid())})
    return _pids(lambda line, parent: parent == driver, "ghost_deploy.batch.local_worker")


def _all_workers() -> list[int]:
    root = str(ROOT)
    return [
        pid
        for pid in _pids(lambda *_: True, "ghost_deploy.batch.local_worker")
        if _link(pid, "cwd") == root
    ]


def _pids(wanted: Any, text: str) -> list[int]:
    """Processes whose command holds a text, of all that this user may see."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if text in line and stat[0] != "Z" and wanted(line, int(stat[1])):
            found.append(int(entry.name))
    return found


def _link(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/{name}")
    except OSError:
        return ""


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


# What is left


def _patience_s() -> float:
    """How long is waited for what ends at once on a quiet machine, seconds."""
    return _ENDS_WITHIN_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _parts(out: Path) -> int:
    return len(list(out.glob("*.parquet"))) if out.is_dir() else 0


def _is_complete(out: Path) -> bool:
    try:
        return bool(json.loads((out / "_manifest.json").read_text())["complete"])
    except (OSError, ValueError):
        return False


def _wait(is_so: Any, seconds: float) -> bool:
    end_s = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


def _check_files(out: Path, faults: Faults) -> None:
    """No part is half."""
    from pyarrow import parquet

    for part in out.glob("*.parquet") if out.is_dir() else ():
        try:
            parquet.read_metadata(part)
        except Exception as error:
            faults.check(False, f"{part.name} is half: {error}")
    with contextlib.suppress(FileNotFoundError):
        json.loads((out / "_manifest.json").read_text())


def _check_rows(
    expected: set[tuple[str, int]], out: Path | str, broken: int, faults: Faults, system: Any = None
) -> None:
    from pyarrow import parquet

    table = parquet.read_table(str(out), filesystem=system, columns=["source", "frame", "error"])
    keys = Counter(zip(table["source"].to_pylist(), table["frame"].to_pylist(), strict=True))
    twice = sum(count > 1 for count in keys.values())
    missing, unknown = expected - keys.keys(), keys.keys() - expected
    errors = table.num_rows - table["error"].null_count
    faults.counts["rows"] += table.num_rows
    faults.counts["rows twice"] += twice
    faults.counts["rows missing"] += len(missing)
    faults.check(not twice, f"{twice} rows are there twice")
    faults.check(not missing, f"{len(missing)} rows are missing, e.g. {sorted(missing)[:3]}")
    faults.check(not unknown, f"{len(unknown)} rows are of nothing, e.g. {sorted(unknown)[:3]}")
    faults.check(errors == broken, f"{errors} rows hold an error, {broken} should")
    if system is None:
        left = [path.name for path in Path(out).iterdir() if ".ghost-deploy-" in path.name]
        faults.check(not left, f"temporary files are left: {left[:3]}")


# A full disk, a failing store


def _full_disk(place: Workplace, faults: Faults) -> None:
    """Only root may mount; elsewhere it is left out, and said."""
    disk = place.root / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        print("disk: left out, this user may not mount a small file system")
        return
    small = _part_of(place, 2000)
    try:
        out = disk / "out"
        done = subprocess.run(
            small.words(out, "--part-rows", "20"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        full = "disk is full" in done.stderr and "continue" in done.stderr.lower()
        faults.check(done.returncode == 2 and full, f"a full disk: {done.returncode} {done.stderr}")
        faults.counts["full disks"] += 1
        faults.counts["parts before the disk was full"] += _parts(out)
        _check_files(out, faults)
        more = ["mount", "-o", "remount,size=200m", str(disk)]
        subprocess.run(more, check=True)
        done = subprocess.run(
            small.words(out), cwd=ROOT, capture_output=True, text=True, check=False
        )
        faults.check(done.returncode == 0, f"after it: {done.returncode} {done.stderr}")
        _check_rows(small.expected(), out, small.broken, faults)
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def _part_of(place: Workplace, images: int) -> Workplace:
    """A smaller archive of links to the same images."""
    small = Workplace(place.root / "small", place.bundle, min(images, place.images), 0)
    small.broken = min(place.broken, small.images)
    for number in range(small.images):
        path = small.archive / f"{number % 50}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            os.link(place.archive / f"{number % 50}" / f"{number}.jpg", path)
    return small


def _failing_store(place: Workplace, faults: Faults) -> None:
    from ghost_deploy.batch.file_access import FileAccess

    count = min(2000, place.images)
    source, out = f"s3://{BUCKET}/images", f"s3://{BUCKET}/out"
    expected = {(f"{source}/{number}.jpg", 0) for number in range(count)}
    with object_store() as proxy:
        for number in range(count):
            path = place.archive / f"{number % 50}" / f"{number}.jpg"
            put(proxy, f"images/{number}.jpg", path.read_bytes())
        words = place.words(out, "--part-rows", "20", "--workers", "2")
        words[words.index(str(place.archive))] = source
        proxy.slow_share, proxy.dropped_share = 0.03, 0.02
        for _ in range(20):
            proxy.is_revoked = False
            ended = threading.Event()
            after = proxy.counts["passed"] + proxy.chance.randrange(1000)
            thread = threading.Thread(target=_revoke, args=(proxy, after, ended))
            thread.start()
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
            ended.set()
            thread.join()
            if done.returncode == 0:
                break
            faults.counts["revoked credentials"] += 1
            # In the beginning nothing is written that could be continued.
            told = "continue" in done.stderr or "Check the path" in done.stderr
            is_right = done.returncode == 2 and told and "Traceback" not in done.stderr
            faults.check(is_right, f"revoked: {done.stderr[-600:]}")
        proxy.is_revoked, proxy.slow_share, proxy.dropped_share = False, 0.0, 0.0
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        faults.check(done.returncode == 0, f"the last run on the store: {done.stderr[-600:]}")
        for what, number in proxy.counts.items():
            faults.counts[f"requests {what}"] += number
        system, path = FileAccess().locate(out)
        _check_rows(expected, path, min(place.broken, count), faults, system)


def _revoke(proxy: Any, after: int, ended: threading.Event) -> None:
    """Revoke the credentials behind so many requests."""
    while proxy.counts["passed"] < after and not ended.wait(0.01):
        pass
    proxy.is_revoked = True


if __name__ == "__main__":
    sys.exit(main())
