"""Run live for minutes or hours, and see whether anything grows.

    python tools/soak.py [--minutes 10] [--cameras 2] [--flap 60] [--bundle BUNDLE]

It starts RTSP cameras on loopback (tests/stream/rtsp_server.py; see there for what must be
installed) and kills and restarts the first of them every `--flap` seconds. Without a bundle the
model is pretended and takes `--infer-ms`. At the end it prints the slope of the resident memory
with its standard error, threads, file descriptors and frame ages, and exits with 1 if a frame was
invented or repeated, a counter does not add up, threads or descriptors have grown, or the memory
grows by more than `--most-mib-per-hour` beyond what noise explains.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ghost_deploy as gd
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result, SourceStats
from ghost_deploy.stream.uri import parse_source
from tests.stream import barcode
from tests.stream.rig import make_detector
from tests.stream.servers import RtspCamera

_SAMPLE_S = 1.0
_WARMUP = 0.2  # of the run: caches fill, every camera has been lost once


@dataclass(frozen=True)
class Sample:
    """The process at one moment: seconds since the start, MiB, counts."""

    at_s: float
    rss_mib: float
    threads: int
    descriptors: int


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
        number = barcode.read(result.frame.image)
        self.ages.add(result.age_ms)
        self.times.add(sum(result.timings_ms.values()))
        if number is None:
            self.wrong["invented"] += 1
            return
        # Numbers have 16 bits: after 65536 frames they begin again.
        step = (number - self.last.get(result.source, number - 1)) % (1 << barcode.NUMBER_BITS)
        if step == 0:
            self.wrong["repeated"] += 1
        elif step > 1 << (barcode.NUMBER_BITS - 1):
            self.wrong["out of order"] += 1
        self.last[result.source] = number

    def close(self) -> None:
        """Nothing is held."""


def take_sample(began: float) -> Sample:
    """From /proc: Linux only."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Sample(
        at_s=time.monotonic() - began,
        rss_mib=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        threads=threading.active_count(),
        descriptors=len(os.listdir("/proc/self/fd")),
    )


def slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """MiB an hour by least squares, and its standard error.

    Residuals of neighbours are alike, so blocks of a twentieth of the run count as one sample.
    """
    blocks = [block for block in np.array_split(np.array(range(len(samples))), 20) if len(block)]
    hours = np.array([np.mean([samples[i].at_s for i in block]) for block in blocks]) / 3600
    mib = np.array([np.mean([samples[i].rss_mib for i in block]) for block in blocks])
    centred = hours - hours.mean()
    rate = float(centred @ mib / (centred @ centred))
    residual = mib - mib.mean() - rate * centred
    freedom = max(1, len(blocks) - 2)
    return rate, float(np.sqrt(residual @ residual / freedom / (centred @ centred)))


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


def judge(
    args: argparse.Namespace, check: Check, samples: list[Sample], stats: Sequence[SourceStats]
) -> list[str]:
    """What is wrong with the run."""
    wrong = [f"{count} frames {what}" for what, count in check.wrong.items()]
    for each in stats:
        if each.captured != each.processed + sum(each.dropped.values()):
            wrong.append(f"the counters of source {each.id} do not add up: {each}")
        if each.processed == 0:
            wrong.append(f"source {each.id} gave nothing: {each.last_error}")
    settled = samples[int(len(samples) * _WARMUP) :]
    half = len(settled) // 2
    for name in ("threads", "descriptors"):
        first, second = (
            max(getattr(s, name) for s in part) for part in (settled[:half], settled[half:])
        )
        print(f"{name}: at most {first}, then {second}")
        if second > first:
            wrong.append(f"{name} have grown from {first} to {second}")
    rate, error = slope(settled)
    print(f"resident memory: {settled[-1].rss_mib:.1f} MiB, {rate:+.2f} ± {error:.2f} MiB/h")
    if rate - 2 * error > args.most_mib_per_hour:
        wrong.append("the resident memory grows")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--fps", type=int, default=20)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), metavar=("H", "W"))
    parser.add_argument("--flap", type=float, default=60.0, metavar="S")
    parser.add_argument("--bundle")
    parser.add_argument("--infer-ms", type=float, default=60.0)
    parser.add_argument("--most-mib-per-hour", type=float, default=6.0)
    args = parser.parse_args()
    samples: list[Sample] = []
    check = Check()
    with contextlib.ExitStack() as stack:
        cameras = [
            stack.enter_context(RtspCamera(tuple(args.size), args.fps)) for _ in range(args.cameras)
        ]
        detector = (
            gd.load(args.bundle)
            if args.bundle
            else make_detector(lambda: time.sleep(args.infer_ms / 1e3))
        )
        stack.enter_context(detector)
        sources = [parse_source(camera.address) for camera in cameras]
        pipeline = Pipeline(detector, sources, LivePolicy())
        flaps = stack.enter_context(flapping(cameras[0], args.flap))
        began = time.monotonic()

        def tick() -> None:
            now = time.monotonic() - began
            if not samples or now - samples[-1].at_s >= _SAMPLE_S:
                samples.append(take_sample(began))
            if now > args.minutes * 60:
                pipeline.stop()

        pipeline.run([check], tick)
    stats = pipeline.stats.snapshot()
    for each in stats:
        print(each)
    print(f"{flaps[0]} restarts, {len(check.ages)} results in {args.minutes:g} minutes")
    for name, values in (("age", check.ages), ("pre + run + post", check.times)):
        print(f"{name}: p50 {values.percentile(50):.1f}, p99 {values.percentile(99):.1f} ms")
    wrong = judge(args, check, samples, stats)
    for each in wrong:
        print(f"WRONG: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
