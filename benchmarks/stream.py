"""What the live pipeline costs beside the model: frames a second and frame age.

    python -m benchmarks.stream live BUNDLE [rtsp://...] [--size 1080 1920] [--camera-fps 30]
    python -m benchmarks.stream files BUNDLE IMAGES
    python -m benchmarks.stream cameras BUNDLE IMAGES [--cameras 1 2 4 8 16] [--batch 4]

`live` runs the same camera alternately through the pipeline and through the plain loop
`capture.read(); detector(frame)`, several times. Without an address it starts one, an RTSP server
of H.264 on loopback (tests/support/rtsp_server.py), whose frames carry their number, so that the
true age of the frames of both is known. For another camera only the age that the pipeline itself
measures is known: from the arrival, corrected by the stream's own time stamps.

`files` runs decoded images through the whole pipeline, OpenVINO's own `benchmark_app -hint
throughput` on the same file in the same precision, and our runtime alone with as many parallel
requests, alternately; the ratios show the cost of pre- and post-processing and of the pipeline.

`cameras` runs several cameras of decoded images at their own pace, each through the pipeline and
through a plain loop that takes the frames of all cameras in turn, beside `benchmark_app`.

Each ends with a table in markdown: the median over the rounds, and the range in brackets.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import ghost_deploy as gd
from benchmarks.interleave import machine
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.processing.images import list_images, read_image
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.source_table import SourceAddress
from ghost_deploy.stream.sources.uri import parse_source
from tests.support.camera_servers import RtspCamera
from tests.support.numbered_frames import read_number

_WARMUP_S = 2.0


@dataclass
class Run:
    """The figures of one run, without its first seconds.

    Attributes:
        results: results.
        seconds: between the first and the last of them.
        ages_ms: age of each result.
        run_s: time spent in the model.
    """

    results: int = 0
    seconds: float = 0.0
    ages_ms: list[float] = field(default_factory=list)
    run_s: float = 0.0

    @property
    def fps(self) -> float:
        return self.results / self.seconds

    @property
    def busy(self) -> float | None:
        return self.run_s / self.seconds if self.run_s else None

    def age(self, percent: float) -> float | None:
        return float(np.percentile(self.ages_ms, percent)) if self.ages_ms else None


class Recorder:
    """A sink that measures, and stops the pipeline after a time."""

    def __init__(self, seconds: float, age: Callable[[Result], float]) -> None:
        self.run = Run()
        self.stop: Callable[[], None] = lambda: None
        self._seconds = seconds
        self._age = age
        self._began: float | None = None
        self._counted_from = 0.0

    def write(self, result: Result) -> None:
        now = time.monotonic()
        if self._began is None:
            self._began = now
        if now - self._began < _WARMUP_S:
            self._counted_from = now
            return
        self.run.results += 1
        self.run.seconds = now - self._counted_from
        self.run.ages_ms.append(self._age(result))
        self.run.run_s += result.timings_ms["run"] / 1e3
        if self.run.seconds >= self._seconds:
            self.stop()

    def close(self) -> None:
        """Nothing is held."""


class Decoded(Reader):
    """A source that repeats images in memory."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images: Iterator[NDArray[np.uint8]] = itertools.cycle(images)

    def grab(self) -> int:
        return time.monotonic_ns()

    def load(self) -> Callable[[], NDArray[np.uint8]]:
        image = next(self._images)
        return lambda: image

    def close(self) -> None:
        """Nothing is held."""


def true_age(image: NDArray[np.uint8], fps: float, epoch: float) -> float:
    """Milliseconds since the frame was made, by the number that it carries."""
    number = read_number(image)
    assert number is not None, "the camera does not number its frames"
    return (time.monotonic() - epoch - number / fps) * 1e3


def run_pipeline(
    detector: gd.Detector, source: SourceAddress, seconds: float, args: argparse.Namespace
) -> Run:
    def age(result: Result) -> float:
        if args.epoch is None:
            return result.age_ms
        return true_age(result.frame.image, args.camera_fps, args.epoch)

    recorder = Recorder(seconds, age)
    pipeline = Pipeline(detector, [source], LivePolicy())
    recorder.stop = pipeline.stop
    pipeline.run([recorder])
    recorder.run.run_s /= detector.runtime.info.streams
    return recorder.run


def run_loop(
    detector: gd.Detector, source: SourceAddress, seconds: float, args: argparse.Namespace
) -> Run:
    """The plain loop: read, infer."""
    capture = cv2.VideoCapture(source.target)
    assert capture.isOpened(), source.label
    run, began, counted_from = Run(), time.monotonic(), 0.0
    while run.seconds < seconds:
        done, frame = capture.read()
        assert done, "the camera has ended"
        start = time.monotonic()
        detector(frame)
        now = time.monotonic()
        if now - began < _WARMUP_S:
            counted_from = now
            continue
        run.results += 1
        run.seconds = now - counted_from
        run.run_s += now - start
        if args.epoch is not None:
            run.ages_ms.append(true_age(frame, args.camera_fps, args.epoch))
    capture.release()
    run.run_s = 0.0  # it holds pre- and post-processing: no figure for the model
    return run


def run_files(detector: gd.Detector, images: Sequence[NDArray[np.uint8]], seconds: float) -> Run:
    recorder = Recorder(seconds, lambda result: result.age_ms)
    source = SourceAddress("video", "memory", "memory")
    pipeline = Pipeline(detector, [source], opener=lambda *_: Decoded(images))
    recorder.stop = pipeline.stop
    pipeline.run([recorder])
    recorder.run.ages_ms = []
    recorder.run.run_s /= detector.runtime.info.streams
    return recorder.run


class PacedCamera(Decoded):
    """A camera of decoded images that come at their own pace; a late reader gets the newest."""

    def __init__(self, images: Sequence[NDArray[np.uint8]], fps: float) -> None:
        super().__init__(images)
        self._interval, self._due = 1 / fps, time.monotonic()

    def grab(self) -> int:
        self._due = max(self._due + self._interval, time.monotonic() - self._interval)
        time.sleep(max(0.0, self._due - time.monotonic()))
        return time.monotonic_ns()


def run_cameras(
    detector: gd.Detector, images: Sequence[NDArray[np.uint8]], count: int, args: argparse.Namespace
) -> Run:
    """So many live cameras through the pipeline."""
    recorder = Recorder(args.seconds, lambda result: result.age_ms)
    sources = [SourceAddress("rtsp", f"memory:{i}", f"memory {i}") for i in range(count)]
    policy = LivePolicy(batch=min(args.batch, count))
    pipeline = Pipeline(
        detector, sources, policy, opener=lambda *_: PacedCamera(images, args.camera_fps)
    )
    recorder.stop = pipeline.stop
    pipeline.run([recorder])
    recorder.run.run_s /= detector.runtime.info.streams
    return recorder.run


def loop_cameras(
    detector: gd.Detector, images: Sequence[NDArray[np.uint8]], count: int, args: argparse.Namespace
) -> Run:
    """The plain loop: the next frame of each camera in turn; none is left out."""
    run, taken = Run(), 0
    began = time.monotonic()
    while run.seconds < args.seconds:
        made = began + (taken // count) / args.camera_fps  # all cameras make a frame at once
        time.sleep(max(0.0, made - time.monotonic()))
        detector(images[taken % len(images)])
        taken += 1
        now = time.monotonic()
        if now - began >= _WARMUP_S:
            run.results += 1
            run.seconds = now - began - _WARMUP_S
            run.ages_ms.append((now - made) * 1e3)
    return run


def run_bare(detector: gd.Detector, images: Sequence[NDArray[np.uint8]], seconds: float) -> Run:
    """The model alone, as many parallel requests as it computes, fed from memory."""
    feeds, _ = detector.preprocess([images[0]])
    feeds = {name: array.copy() for name, array in feeds.items()}
    counts: list[int] = []
    end = time.monotonic() + seconds

    def work() -> None:
        runtime = detector.runtime.fork() or detector.runtime
        count = 0
        while time.monotonic() < end:
            runtime.run(feeds)
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(detector.runtime.info.streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Run(results=sum(counts), seconds=seconds)


def run_benchmark_app(xml: Path, precision: str, seconds: float) -> Run:
    """OpenVINO's own tool: its asynchronous queue, filled from memory."""
    beside = Path(sys.executable).with_name("benchmark_app")
    tool = str(beside) if beside.exists() else shutil.which("benchmark_app")
    assert tool, "benchmark_app comes with the package openvino"
    compute = {"fp16": "f32", "int8": "f32", "fp32": "f32"}.get(precision, precision)
    words = [tool, "-m", str(xml), "-d", "CPU", "-hint", "throughput", "-api", "async"]
    words += ["-infer_precision", compute, "-t", str(round(seconds))]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    assert found, done.stdout[-2000:]
    return Run(results=round(float(found[1]) * seconds), seconds=seconds)


def table(rounds: dict[str, list[Run]]) -> str:
    """Markdown: a row for each method, and the ratio of the first to each other by round."""

    def cell(values: Sequence[float | None], form: str) -> str:
        known = [value for value in values if value is not None]
        if not known:
            return ""
        middle, low, high = statistics.median(known), min(known), max(known)
        return f"{middle:{form}} ({low:{form}} to {high:{form}})"

    lines = ["| method | frames/s | age p50, ms | age p99, ms | model busy | pipeline / method |"]
    lines.append("|---|---|---|---|---|---|")
    first = next(iter(rounds.values()))
    for name, runs in rounds.items():
        ratios = [mine.fps / run.fps for mine, run in zip(first, runs, strict=True)]
        cells = [
            cell([run.fps for run in runs], ".1f"),
            cell([run.age(50) for run in runs], ".0f"),
            cell([run.age(99) for run in runs], ".0f"),
            cell([run.busy for run in runs], ".1%"),
            cell(ratios, ".3f") if runs is not first else "",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def live_methods(
    args: argparse.Namespace, detector: gd.Detector, stack: contextlib.ExitStack
) -> dict[str, Callable[[], Run]]:
    if args.source is None:
        camera = stack.enter_context(RtspCamera(tuple(args.size), args.camera_fps))
        args.source, args.epoch = camera.address, camera.epoch
    source = parse_source(args.source)
    return {
        "pipeline": lambda: run_pipeline(detector, source, args.seconds, args),
        "plain loop": lambda: run_loop(detector, source, args.seconds, args),
    }


def files_methods(
    args: argparse.Namespace, detector: gd.Detector, stack: contextlib.ExitStack
) -> dict[str, Callable[[], Run]]:
    images = [read_image(path) for path in list_images(args.source)[:50]]
    methods = {"pipeline": lambda: run_files(detector, images, args.seconds)}
    if args.runtime == "openvino":
        bundle = Bundle.read(args.bundle)
        xml = bundle.verified_path(bundle.artifact("openvino", args.stored or args.precision))
        methods["benchmark_app"] = lambda: run_benchmark_app(xml, args.precision, args.seconds)
    if args.kind == "cameras":
        # A loop has one image at a time: it gets all threads for it.
        alone = stack.enter_context(gd.load(args.bundle, args.runtime, args.precision))
        runs: dict[str, Callable[[], Run]] = {}
        for count in args.cameras:
            given = (images, count, args)
            runs[f"pipeline, {count} cameras"] = partial(run_cameras, detector, *given)
            runs[f"plain loop, {count} cameras"] = partial(loop_cameras, alone, *given)
        return runs | {name: each for name, each in methods.items() if name == "benchmark_app"}
    methods["our runtime alone"] = lambda: run_bare(detector, images, args.seconds)
    return methods


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["live", "files", "cameras"])
    parser.add_argument("bundle")
    parser.add_argument("source", nargs="?")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--stored", help="precision of the file, where another runs: fp32 for bf16")
    parser.add_argument("--size", type=int, nargs=2, default=[1080, 1920], metavar=("H", "W"))
    parser.add_argument("--camera-fps", type=int, default=30)
    parser.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--batch", type=int, default=1, help="frames of several cameras at once")
    args = parser.parse_args()
    args.epoch = None
    assert args.source or args.kind == "live", "name a folder of images"
    print(machine())
    hint = "latency" if args.kind == "live" else "throughput"  # of cameras too: they are several
    with contextlib.ExitStack() as stack:
        detector = stack.enter_context(
            gd.load(args.bundle, runtime=args.runtime, precision=args.precision, hint=hint)
        )
        print(detector.runtime.info)
        is_live = args.kind == "live"
        prepare = live_methods if is_live else files_methods
        methods = prepare(args, detector, stack)
        rounds: dict[str, list[Run]] = {name: [] for name in methods}
        for number in range(args.rounds):
            # Alternately: other load on the machine must not always affect the same one.
            for name in methods if number % 2 == 0 else reversed(methods):
                rounds[name].append(methods[name]())
                assert rounds[name][-1].results > 1, "too few frames: give more --seconds"
                print(f"{name:18}{rounds[name][-1].fps:7.1f} fps", file=sys.stderr, flush=True)
    if args.kind != "cameras":
        print(table(rounds))
        return
    for count in args.cameras:
        mine = (f"pipeline, {count} cameras", f"plain loop, {count} cameras", "benchmark_app")
        print(table({name: rounds[name] for name in mine if name in rounds}))


if __name__ == "__main__":
    main()
