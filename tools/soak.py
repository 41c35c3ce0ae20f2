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
import sys
import tempfile
import threading
import time
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ghost_deploy as gd
from ghost_deploy.core.detections import Detections
from ghost_deploy.stream.malloc import use_single_arena
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sinks.jsonl import JsonlSink
from ghost_deploy.stream.sinks.record import Annotator
from ghost_deploy.stream.sinks.retrying import RetryingSink
from ghost_deploy.stream.sinks.sink import Sink
from ghost_deploy.stream.sinks.snapshots import SnapshotSink
from ghost_deploy.stream.sinks.threaded import ThreadedSink
from ghost_deploy.stream.sinks.video import VideoSink
from ghost_deploy.stream.sources.source_table import SourceAddress
from ghost_deploy.stream.sources.uri import parse_source
from ghost_deploy.stream.web.status import ModelCard
from ghost_deploy.stream.web.web_view import WebViewSink
from tests.support.camera_servers import RtspCamera
from tests.support.running_pipeline import make_detector
from tools.soak_faults import bomb_camera, silent_visitors
from tools.soak_frames import Check
from tools.soak_outcome import KEEP_MIB, WARMUP, Soak
from tools.soak_samples import Sample, SampleTable, sample_file, take_sample

_SAMPLE_S = 1.0


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


class Watch:
    """Samples the process while a pipeline runs, and ends the run.

    Args:
        args: of the command line.
        keep: receives each sample.
        stop: ends the run.
    """

    def __init__(
        self, args: argparse.Namespace, keep: Callable[[Sample], None], stop: Callable[[], None]
    ) -> None:
        self._args, self._keep, self._stop = args, keep, stop
        self._table = SampleTable(int(args.minutes * 60 / _SAMPLE_S) + 600)
        self._traced: tracemalloc.Snapshot | None = None
        if args.trace:
            tracemalloc.start(8)
        self._began = time.monotonic()

    def tick(self) -> None:
        """Called by the pipeline again and again."""
        now = time.monotonic() - self._began
        if now - self._table.last_s >= _SAMPLE_S:
            sample = take_sample(self._began)
            self._table.add(sample)
            self._keep(sample)
            if self._args.trace and not self._traced and now > self._args.minutes * 60 * WARMUP:
                self._traced = tracemalloc.take_snapshot()
        if now > self._args.minutes * 60:
            self._stop()

    def samples(self) -> list[Sample]:
        """All samples, in order."""
        return self._table.samples()

    def print_trace(self) -> None:
        """The lines that allocated what is held and was not after the warm-up."""
        if self._traced:
            for line in tracemalloc.take_snapshot().compare_to(self._traced, "lineno")[:20]:
                print(line, file=sys.stderr)


def _detector(args: argparse.Namespace) -> gd.Detector:
    if args.bundle:
        return gd.load(args.bundle)
    found = Detections([[8, 8, 40, 24]], [0.9], [0])
    return make_detector(lambda: time.sleep(args.infer_ms / 1e3), found)


def _sources(
    args: argparse.Namespace, cameras: Sequence[RtspCamera], stack: contextlib.ExitStack
) -> list[SourceAddress]:
    """The cameras, with `--faults` the one of huge images, and one that is dead."""
    addresses = [camera.address for camera in cameras]
    if args.faults:
        addresses.append(stack.enter_context(bomb_camera(tuple(args.size), args.fps)))
    return [parse_source(address) for address in (*addresses, "rtsp://127.0.0.1:9/dead")]


def _file_sinks(folder: Path) -> list[ThreadedSink]:
    annotate, most_bytes = Annotator(), KEEP_MIB << 20
    files: tuple[Sink, ...] = (
        JsonlSink(folder / "lines.jsonl", most_bytes=most_bytes),
        VideoSink(folder, annotate, most_bytes=most_bytes),
        SnapshotSink(folder, annotate, every_s=0.5, most_bytes=most_bytes),
    )
    return [ThreadedSink(RetryingSink(sink)) for sink in files]


def run(args: argparse.Namespace) -> Soak:
    """Run for `args.minutes`."""
    use_single_arena()  # as the command does
    check = Check()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        cameras = [
            stack.enter_context(RtspCamera(tuple(args.size), args.fps)) for _ in range(args.cameras)
        ]
        detector = stack.enter_context(_detector(args))
        sources = _sources(args, cameras, stack)
        pipeline = Pipeline(detector, sources, LivePolicy(rtsp_by=args.rtsp_by))
        view = WebViewSink("127.0.0.1:0", ModelCard.of(detector), stats=pipeline.stats)
        sinks = _file_sinks(folder)
        flaps = stack.enter_context(flapping(cameras[0], args.flap))
        looks = stack.enter_context(polled(view))
        # Ended before the view is, so that each of its visits can be answered.
        guests = contextlib.ExitStack()
        visits = guests.enter_context(silent_visitors(view.url)) if args.faults else []
        stack.enter_context(guests)
        keep = stack.enter_context(sample_file(args.samples))

        def stop() -> None:
            guests.close()
            pipeline.stop()

        watch = Watch(args, keep, stop)
        pipeline.run([check, *sinks, view], watch.tick)
        watch.print_trace()
        kept = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
        lost = sum(sink.stats().dropped for sink in sinks)
        stats = pipeline.stats()
        return Soak(args, check, watch.samples(), stats, flaps[0], looks[0], kept, lost, visits)


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
