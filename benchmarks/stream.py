"""What the live pipeline adds to the model: frames a second and frame age.

    python -m benchmarks.stream live BUNDLE rtsp://127.0.0.1:8554/cam [--seconds 20]
    python -m benchmarks.stream files BUNDLE IMAGES [--seconds 20]

`live` runs the same camera in turn through the pipeline and through the plain loop
`capture.read(); detector(frame)`, several times. The age of the loop's frames is not known to the
loop; that of the pipeline is measured from the arrival, corrected by the stream's own time stamps.
A camera that sends a number in each frame, as `tests/stream/rtsp_server.py` does, gives the true
age of both with `--epoch`: the moment on the monotonic clock from which the numbers count.

`files` runs decoded pictures through the whole pipeline, and the bare model with as many requests
side by side, in turn; the ratio is what pre- and post-processing and the pipeline leave over.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

import ghost_deploy as gd
from benchmarks.interleave import machine
from ghost_deploy.processing.images import list_images, read_image
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.uri import Source, parse_source
from tests.stream import barcode

_WARMUP_S = 2.0


@dataclass
class Run:
    """What one run gave, without its first seconds.

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

    def __str__(self) -> str:
        ages = ""
        if self.ages_ms:
            p50, p99 = np.percentile(self.ages_ms, (50, 99))
            ages = f"  age p50 {p50:6.1f} ms  p99 {p99:6.1f} ms"
        busy = f"  model busy {self.run_s / self.seconds:5.1%}" if self.run_s else ""
        return f"{self.results / self.seconds:7.1f} fps{ages}{busy}"


class Recorder:
    """A sink that measures, and stops the pipeline when the time is over."""

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


class Decoded:
    """A source of pictures that are in memory, again and again."""

    rate: float | None = None

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
    number = barcode.read(image)
    assert number is not None, "the camera does not number its frames"
    return (time.monotonic() - epoch - number / fps) * 1e3


def run_pipeline(
    detector: gd.Detector, source: Source, seconds: float, args: argparse.Namespace
) -> Run:
    def age(result: Result) -> float:
        if args.epoch is None:
            return result.age_ms
        return true_age(result.frame.image, args.camera_fps, args.epoch)

    recorder = Recorder(seconds, age)
    pipeline = Pipeline(detector, [source], LivePolicy())
    recorder.stop = pipeline.stop
    pipeline.run([recorder])
    return recorder.run


def run_loop(
    detector: gd.Detector, source: Source, seconds: float, args: argparse.Namespace
) -> Run:
    """What everybody writes first."""
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
    source = Source("video", "memory", "memory")
    pipeline = Pipeline(detector, [source], opener=lambda *_: Decoded(images))
    recorder.stop = pipeline.stop
    pipeline.run([recorder])
    recorder.run.ages_ms = []
    recorder.run.run_s /= detector.runtime.info.streams
    return recorder.run


def run_bare(detector: gd.Detector, images: Sequence[NDArray[np.uint8]], seconds: float) -> Run:
    """The model alone, as many requests side by side as it computes, fed from memory."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["live", "files"])
    parser.add_argument("bundle")
    parser.add_argument("source")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runtime", default="openvino")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--epoch", type=float, help="see above")
    parser.add_argument("--camera-fps", type=float, default=30.0)
    args = parser.parse_args()
    print(machine())
    hint = "latency" if args.kind == "live" else "throughput"
    with gd.load(
        args.bundle, runtime=args.runtime, precision=args.precision, hint=hint
    ) as detector:
        roads: dict[str, Callable[[], Run]]
        if args.kind == "live":
            source = parse_source(args.source)
            roads = {
                "pipeline": lambda: run_pipeline(detector, source, args.seconds, args),
                "plain loop": lambda: run_loop(detector, source, args.seconds, args),
            }
        else:
            images = [read_image(path) for path in list_images(args.source)[:50]]
            roads = {
                "pipeline": lambda: run_files(detector, images, args.seconds),
                "bare model": lambda: run_bare(detector, images, args.seconds),
            }
        rates: dict[str, list[float]] = {name: [] for name in roads}
        for _ in range(args.rounds):
            for name, road in roads.items():
                run = road()
                rates[name].append(run.results / run.seconds)
                print(f"{name:12}{run}", flush=True)
    first, second = (statistics.median(values) for values in rates.values())
    print(f"{' / '.join(rates)}: {first / second:.3f}")


if __name__ == "__main__":
    main()
