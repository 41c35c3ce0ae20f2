"""Run live for minutes or hours, and check that nothing grows.

    python tools/soak.py [--minutes 10] [--cameras 2] [--flap 60] [--bundle BUNDLE] [--rtsp-by B]
                         [--samples FILE] [--no-faults] [--trace]

It starts RTSP cameras on loopback (tests/support/rtsp_server.py; see there for what must be
installed), kills and restarts the first of them every `--flap` seconds, and adds one that is
dead from the start. Unless `--no-faults`, an MJPEG camera sends small images that announce
gigabytes, and visitors of the web view send nothing or half a request (tools/soak_faults.py).
Results go to lines, videos and snapshots with a small size limit, and to a web view that is polled.
Without a bundle a fake model takes `--infer-ms`. A sample of the process each second is written to
`--samples` (CSV) during the run. `--trace` says at the end which lines allocated what Python
holds more of than after the warm-up; it costs speed and memory.

At the end it prints a table in markdown: the slopes of the memory that is resident and of that in
use, after a warm-up of a third of the run, with standard errors that allow for neighboring samples
being alike, and their halves; threads, file descriptors, children and frame ages. It exits with 1
if a frame was invented, repeated or out of order, a counter is not exact, a sink lost a result,
a huge image was not counted as broken, `/livez` was not answered, more was kept than the limit,
threads, descriptors or children have grown, frames were older than a frame interval and the time
to infer them, or either memory grows by more than `--most-mib-per-hour` (6, and 2.5 in a run of
half an hour or more) beyond the noise, or is too noisy for a verdict in a run of that length.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import os
import sys
import tempfile
import threading
import time
import tracemalloc
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ghost_deploy as gd
from ghost_deploy.core.detections import Detections
from ghost_deploy.stream.malloc import use_single_arena
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.jsonl import JsonlSink
from ghost_deploy.stream.sinks.record import Annotator
from ghost_deploy.stream.sinks.retrying import RetryingSink
from ghost_deploy.stream.sinks.sink import Sink
from ghost_deploy.stream.sinks.snapshots import SnapshotSink
from ghost_deploy.stream.sinks.threaded import ThreadedSink
from ghost_deploy.stream.sinks.video import VideoSink
from ghost_deploy.stream.source_stats import SourceStats
from ghost_deploy.stream.sources.uri import parse_source
from ghost_deploy.stream.web.status import ModelCard
from ghost_deploy.stream.web.web_view import WebViewSink
from tests.support.camera_servers import RtspCamera
from tests.support.numbered_frames import NUMBER_BITS, read_number
from tests.support.running_pipeline import make_detector
from tools.soak_faults import BOMB_EVERY, bomb_camera, silent_visitors

_SAMPLE_S = 1.0
_KEEP_MIB = 8
_MOST_MIB_PER_HOUR, _MOST_MIB_PER_HOUR_LONG = 6.0, 2.5
_LONG_MINUTES = 30
_WARMUP = 0.35  # of the run: caches and the three minutes of the web view's history fill


@dataclass(frozen=True)
class Sample:
    """The process at one moment: seconds since the start, MiB resident and in use, counts."""

    at_s: float
    rss_mib: float
    used_mib: float
    threads: int
    descriptors: int
    children: int
    blocks: int = 0  # that Python's own allocator has handed out


class SampleTable:
    """Samples in a table that is as large from the start: as objects they would be what grows.

    Args:
        most: samples, at least.
    """

    def __init__(self, most: int) -> None:
        self._rows = np.full((most, len(fields(Sample))), np.nan)
        self._count = 0

    @property
    def last_s(self) -> float:
        """When the last one was taken; before the first, minus infinity."""
        return float(self._rows[self._count - 1, 0]) if self._count else -np.inf

    def add(self, sample: Sample) -> None:
        if self._count < len(self._rows):
            self._rows[self._count] = [getattr(sample, each.name) for each in fields(Sample)]
            self._count += 1

    def samples(self) -> list[Sample]:
        """All, in order."""
        return [
            Sample(*map(float, row[:3]), *map(int, row[3:])) for row in self._rows[: self._count]
        ]


class Histogram:
    """Milliseconds in bins of 0.5, the last open: its size does not grow with the run."""

    _BIN_MS = 0.5

    def __init__(self) -> None:
        self._counts = np.zeros(20_000, np.int64)

    def add(self, value_ms: float) -> None:
        self._counts[min(int(value_ms / self._BIN_MS), len(self._counts) - 1)] += 1

    def __len__(self) -> int:
        return int(self._counts.sum())

    def percentile(self, percent: float) -> float:
        """The upper edge of the bin that holds it."""
        reached = np.searchsorted(np.cumsum(self._counts), len(self) * percent / 100)
        return float(reached + 1) * self._BIN_MS


class Check:
    """A sink that reads the number of each frame and keeps no frame."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.wrong: Counter[str] = Counter()
        self.ages = Histogram()
        self.times = Histogram()

    def write(self, result: Result) -> None:
        number = read_number(result.frame.image)
        self.ages.add(result.age_ms)
        self.times.add(sum(result.timings_ms.values()))
        if number is None:
            self.wrong["invented"] += 1
            return
        # Numbers have 16 bits: after 65536 frames they begin again.
        step = (number - self.last.get(result.source, number - 1)) % (1 << NUMBER_BITS)
        if step == 0:
            self.wrong["repeated"] += 1
        elif step > 1 << (NUMBER_BITS - 1):
            self.wrong["out of order"] += 1
        self.last[result.source] = number

    def close(self) -> None:
        """Nothing is held."""


@contextlib.contextmanager
def sample_file(path: Path | None) -> Iterator[Callable[[Sample], None]]:
    """A function that writes samples to a CSV file line by line, or nowhere."""
    if path is None:
        yield lambda _sample: None
        return
    names = [field.name for field in fields(Sample)]
    with path.open("w", newline="", buffering=1) as file:
        lines = csv.writer(file)
        lines.writerow(names)

        def write(sample: Sample) -> None:
            lines.writerow([getattr(sample, name) for name in names])

        yield write


class _Mallinfo2(ctypes.Structure):
    """Of glibc's malloc.h; all in bytes but for two counts."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def used_mib() -> float:
    """What malloc has handed out and Python's own allocator, about 80 bytes a block, has."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    facts = mallinfo2()
    return float(facts.uordblks + facts.hblkhd + 80 * sys.getallocatedblocks()) / 2**20


def take_sample(began: float) -> Sample:
    """From /proc: Linux only. Children are those of the main thread and of all others."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    tasks = list(Path("/proc/self/task").iterdir())
    children = 0
    for task in tasks:
        with contextlib.suppress(OSError):  # a thread that has ended
            children += len((task / "children").read_text().split())
    return Sample(
        at_s=time.monotonic() - began,
        rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        used_mib=used_mib(),
        threads=len(tasks),
        descriptors=len(os.listdir("/proc/self/fd")),
        children=children,
        blocks=sys.getallocatedblocks(),
    )


def slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """Growth of the resident memory, MiB an hour by least squares, and its standard error.

    Residuals of neighbours are alike, so blocks of a twentieth of the run count as one sample;
    `fit` allows for what is left of that.
    """
    blocks = split(samples, 20)
    return fit(blocks, [float(np.mean([each.rss_mib for each in block])) for block in blocks])


def used_slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """The same of the memory in use, of which free memory that the allocator keeps is no part.

    Of each tenth of the run its lower quartile: few frames were under way, and it lasts longer
    than the moments in which a camera is away.
    """
    blocks = split(samples, 10)
    return fit(blocks, [low_used(block) for block in blocks])


def low_used(block: Sequence[Sample]) -> float:
    return float(np.percentile([each.used_mib for each in block], 25))


def split(samples: Sequence[Sample], parts: int) -> list[list[Sample]]:
    """Parts of equal length, without empty ones."""
    blocks = np.array_split(np.arange(len(samples)), parts)
    return [[samples[i] for i in block] for block in blocks if len(block)]


def fit(blocks: Sequence[Sequence[Sample]], values: Sequence[float]) -> tuple[float, float]:
    """Rise of one value a block by least squares, an hour, and its standard error."""
    hours = np.array([np.mean([each.at_s for each in block]) for block in blocks]) / 3600
    mib = np.array(values)
    centred = hours - hours.mean()
    rate = float(centred @ mib / (centred @ centred))
    residual = mib - mib.mean() - rate * centred
    freedom = max(1, len(blocks) - 2)
    error = float(np.sqrt(residual @ residual / freedom / (centred @ centred)))
    return rate, error * _inflation(residual)


def _inflation(residual: NDArray[np.float64]) -> float:
    """By how much the standard error of a slope is too small, because residuals that follow each
    other are alike: sqrt((1 + r) / (1 - r)) with their correlation r, as for an autoregressive
    series (Bartlett 1935). The fit of a line takes about (1 + 4 r) / n of it, which is given back.
    """
    power = float(residual @ residual)
    if len(residual) < 5 or power == 0:
        return 1.0
    found = float(residual[1:] @ residual[:-1]) / power
    n = len(residual)
    r = min(max((found + 1 / n) / (1 - 4 / n), 0.0), 0.9)
    return float(np.sqrt((1 + r) / (1 - r)))


@contextlib.contextmanager
def flapping(camera: RtspCamera, every_s: float) -> Iterator[list[int]]:
    """Kill and restart a camera while the block runs; how often."""
    over = threading.Event()
    count = [0]

    def flap() -> None:
        while not over.wait(every_s):
            camera.kill()
            if not over.wait(2.0):
                camera.start()
            count[0] += 1

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def polled(view: WebViewSink) -> Iterator[list[int]]:
    """Poll a web view while the block runs: status, metrics and images."""
    over = threading.Event()
    count = [0]

    def poll() -> None:
        while not over.wait(0.5):
            for path in ("api/status", "api/history", "metrics", "api/images?after=0"):
                with (
                    contextlib.suppress(OSError),
                    urllib.request.urlopen(view.url + path, timeout=10) as answer,
                ):
                    count[0] += len(answer.read()) > 0

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join()


@dataclass
class Soak:
    """The outcome of a run.

    Attributes:
        limits: of the command line.
        check: of every frame.
        samples: of the process, in order.
        stats: of the sources at the end; the last was dead from the start.
        restarts: of the first camera.
        looks: answers of the web view.
        kept_mib: in the folder of the sinks at the end.
        lost: results that a sink did not take.
        visits: how often silent visitors asked for `/livez`, and how often it failed; none
            without faults. The last camera is then the one that sends huge images.
    """

    limits: argparse.Namespace
    check: Check
    samples: list[Sample]
    stats: Sequence[SourceStats]
    restarts: int
    looks: int
    kept_mib: float
    lost: int
    visits: Sequence[int] = ()

    @property
    def settled(self) -> list[Sample]:
        return self.samples[int(len(self.samples) * _WARMUP) :]

    def most(self, name: str) -> tuple[int, int]:
        """The most of a count in each half; of descriptors the median, as visitors come and go."""
        settled = self.settled
        half = len(settled) // 2
        counts = [[getattr(s, name) for s in h] for h in (settled[:half], settled[half:])]
        if name == "descriptors":
            first, second = (int(np.median(each)) for each in counts)
        else:
            first, second = (max(each) for each in counts)
        return first, second

    @property
    def most_mib_per_hour(self) -> float:
        asked: float | None = self.limits.most_mib_per_hour
        if asked is not None:
            return asked
        return _MOST_MIB_PER_HOUR_LONG if self.is_long else _MOST_MIB_PER_HOUR

    @property
    def is_long(self) -> bool:
        return bool(self.limits.minutes >= _LONG_MINUTES)

    @property
    def age_limit_ms(self) -> float:
        return 1000 / self.limits.fps + self.check.times.percentile(99)

    def wrong(self) -> list[str]:
        """List what is wrong with the run."""
        wrong = [f"{count} frames {what}" for what, count in self.check.wrong.items()]
        *cameras, dead = self.stats
        for each in self.stats:
            if each.captured != each.processed + sum(each.dropped.values()):
                wrong.append(f"the counters of source {each.id} do not add up: {each}")
        wrong += [f"source {x.id} gave nothing: {x.last_error}" for x in cameras if not x.processed]
        if dead.captured or dead.state != "lost":
            wrong.append(f"the dead source is {dead.state}")
        # The last restart may have been in the last moment.
        if not self.restarts - 1 <= cameras[0].reconnects <= self.restarts:
            wrong.append(f"{cameras[0].reconnects} reconnects in {self.restarts} restarts")
        wrong += [f"source {x.id} was lost" for x in cameras[1:] if x.reconnects]
        for name in ("threads", "descriptors", "children"):
            first, second = self.most(name)
            if second > first:
                wrong.append(f"{name} have grown from {first} to {second}")
        age = self.check.ages.percentile(99)
        if age > self.age_limit_ms:
            wrong.append(f"frames are up to {age:.0f} ms old, over {self.age_limit_ms:.0f} ms")
        wrong += self._wrong_under_faults(cameras[-1])
        if self.lost:
            wrong.append(f"the sinks have lost {self.lost} results")
        if not self.looks:
            wrong.append("the web view did not answer")
        if self.kept_mib > 3 * _KEEP_MIB * 1.3:
            wrong.append(f"{self.kept_mib:.0f} MiB were kept")
        return wrong + self._wrong_memory()

    def _wrong_under_faults(self, camera: SourceStats) -> list[str]:
        if not self.limits.faults:
            return []
        wrong = []
        if len(self.visits) != 2 or not self.visits[0] or self.visits[1]:
            wrong.append(f"silent visitors asked for /livez and did not get it: {self.visits}")
        # Those that a newer frame replaced before they were read are not looked into.
        sent, broken = camera.captured / BOMB_EVERY, camera.dropped.get("broken", 0)
        if broken > sent + 2 or (sent > 5 and not broken):
            wrong.append(f"huge images are not counted as broken: {camera.dropped}")
        return wrong

    def _wrong_memory(self) -> list[str]:
        most = self.most_mib_per_hour
        rate, error = slope(self.settled)
        used, used_error = used_slope(self.settled)
        wrong = []
        if rate - 2 * error > most:
            wrong.append(f"the resident memory grows by {rate:.1f} ± {error:.1f} MiB/h")
        if used - 2 * used_error > most:
            wrong.append(f"the memory in use grows by {used:.1f} ± {used_error:.1f} MiB/h")
        # A short run is less exact: it detects fast growth, a long one leaks.
        noise = 2 * max(error, used_error)
        if self.is_long and noise > most:
            wrong.append(
                f"the memory is too noisy for a verdict: ± {noise / 2:.1f} MiB/h; run it longer"
            )
        return wrong

    def _halves(self) -> Iterator[str]:
        for half in split(self.settled, 2):
            yield "{:+.2f} ± {:.2f} and {:+.2f} ± {:.2f} MiB/h".format(
                *slope(half), *used_slope(half)
            )

    def table(self) -> str:
        """The figures, in markdown."""
        limits, cameras = self.limits, self.stats[:-1]
        rate, error = slope(self.settled)
        used, used_error = used_slope(self.settled)
        parts = split(self.settled, 20)
        last = low_used(split(self.settled, 10)[-1])
        dropped: Counter[str] = Counter()
        for each in cameras:
            dropped.update(each.dropped)
        ages, times = self.check.ages, self.check.times
        rows = {
            "run": f"{limits.minutes:g} min, {len(cameras)} cameras of {limits.size[1]}x"
            f"{limits.size[0]} at {limits.fps} frames/s (RTSP by {limits.rtsp_by}), one more dead",
            "restarts of a camera, reconnects counted": f"{self.restarts}, {cameras[0].reconnects}",
            "frames captured": str(sum(each.captured for each in cameras)),
            "frames inferred": str(sum(each.processed for each in cameras)),
            "frames dropped": ", ".join(f"{n} {cause}" for cause, n in dropped.items()) or "0",
            "frames invented, repeated or out of order": str(sum(self.check.wrong.values())),
            "resident memory at the end": f"{self.samples[-1].rss_mib:.1f} MiB",
            "its growth": f"{rate:+.2f} ± {error:.2f} MiB/h",
            "memory in use, lower quartile at the end": f"{last:.1f} MiB",
            "growth of that": f"{used:+.2f} ± {used_error:.2f} MiB/h",
            "both in each half after the warm-up": ", ".join(self._halves()),
            "blocks of Python's allocator, growth": "{:+.0f} ± {:.0f} an hour".format(
                *fit(parts, [float(np.mean([x.blocks for x in part])) for part in parts])
            ),
            **{
                f"{name}, {which} in each half": "{}, {}".format(*self.most(name))
                for name, which in (
                    ("threads", "most"),
                    ("descriptors", "median"),
                    ("children", "most"),
                )
            },
            "frame age p50, p99": f"{ages.percentile(50):.1f}, {ages.percentile(99):.1f} ms",
            "pre + run + post p50, p99": f"{times.percentile(50):.1f}, "
            f"{times.percentile(99):.1f} ms",
            "frame interval + inference p99": f"{self.age_limit_ms:.1f} ms",
            "kept by three sinks": f"{self.kept_mib:.0f} MiB of {3 * _KEEP_MIB}",
            "results lost by them": str(self.lost),
            "answers of the web view": str(self.looks),
            "visits of `/livez` among silent connections, failed": ", ".join(map(str, self.visits)),
        }
        lines = [f"| {name} | {value} |" for name, value in rows.items()]
        return "\n".join(["| what | figure |", "|---|---|", *lines])


def run(args: argparse.Namespace) -> Soak:
    use_single_arena()  # as the command does
    table = SampleTable(int(args.minutes * 60 / _SAMPLE_S) + 600)
    check = Check()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        cameras = [
            stack.enter_context(RtspCamera(tuple(args.size), args.fps)) for _ in range(args.cameras)
        ]
        found = Detections([[8, 8, 40, 24]], [0.9], [0])
        detector = (
            gd.load(args.bundle)
            if args.bundle
            else make_detector(lambda: time.sleep(args.infer_ms / 1e3), found)
        )
        stack.enter_context(detector)
        sources = [parse_source(camera.address) for camera in cameras]
        if args.faults:
            bombs = stack.enter_context(bomb_camera(tuple(args.size), args.fps))
            sources.append(parse_source(bombs))
        sources.append(parse_source("rtsp://127.0.0.1:9/dead"))
        pipeline = Pipeline(detector, sources, LivePolicy(rtsp_by=args.rtsp_by))
        view = WebViewSink("127.0.0.1:0", ModelCard.of(detector), stats=pipeline.stats)
        annotate, most_bytes = Annotator(), _KEEP_MIB << 20
        files: list[Sink] = [
            JsonlSink(folder / "lines.jsonl", most_bytes=most_bytes),
            VideoSink(folder, annotate, most_bytes=most_bytes),
            SnapshotSink(folder, annotate, every_s=0.5, most_bytes=most_bytes),
        ]
        sinks = [ThreadedSink(RetryingSink(sink)) for sink in files]
        flaps = stack.enter_context(flapping(cameras[0], args.flap))
        looks = stack.enter_context(polled(view))
        # Ended before the view is, so that each of its visits can be answered.
        guests = contextlib.ExitStack()
        visits = guests.enter_context(silent_visitors(view.url)) if args.faults else []
        stack.enter_context(guests)
        keep = stack.enter_context(sample_file(args.samples))
        began = time.monotonic()

        def tick() -> None:
            now = time.monotonic() - began
            if now - table.last_s >= _SAMPLE_S:
                sample = take_sample(began)
                table.add(sample)
                keep(sample)
                if args.trace and not traced and now > args.minutes * 60 * _WARMUP:
                    traced.append(tracemalloc.take_snapshot())
            if now > args.minutes * 60:
                guests.close()
                pipeline.stop()

        traced: list[tracemalloc.Snapshot] = []
        if args.trace:
            tracemalloc.start(8)
        pipeline.run([check, *sinks, view], tick)
        if traced:
            for line in tracemalloc.take_snapshot().compare_to(traced[0], "lineno")[:20]:
                print(line, file=sys.stderr)
        kept = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
        lost = sum(sink.stats().dropped for sink in sinks)
        stats = pipeline.stats()
        return Soak(args, check, table.samples(), stats, flaps[0], looks[0], kept, lost, visits)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--fps", type=int, default=20)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    parser.add_argument("--flap", type=float, default=60.0, metavar="S")
    parser.add_argument("--bundle")
    parser.add_argument("--infer-ms", type=float, default=60.0)
    parser.add_argument("--rtsp-by", choices=["auto", "ffmpeg", "gstreamer"], default="auto")
    parser.add_argument("--samples", type=Path, metavar="FILE")
    parser.add_argument("--no-faults", dest="faults", action="store_false")
    parser.add_argument("--trace", action="store_true")
    parser.add_argument("--most-mib-per-hour", type=float)
    return parser


def main() -> int:
    soak = run(make_parser().parse_args())
    print(soak.table())
    wrong = soak.wrong()
    for each in wrong:
        print(f"WRONG: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
