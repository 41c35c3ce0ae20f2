"""Runs over a live camera, decoded images or several cameras, by a pipeline or by a loop."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import ghost_deploy as gd
from benchmarks.stream_sources import Decoded, PacedCamera, true_age
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.sink import Sink
from ghost_deploy.stream.sources.source_table import SourceAddress

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


class Recorder(Sink):
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
            run.ages_ms.append(true_age(np.asarray(frame, np.uint8), args.camera_fps, args.epoch))
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
