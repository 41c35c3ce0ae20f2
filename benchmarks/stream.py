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
import sys
from collections.abc import Callable
from functools import partial

import ghost_deploy as gd
from benchmarks.interleave import machine
from benchmarks.stream_runs import (
    Run,
    loop_cameras,
    run_bare,
    run_benchmark_app,
    run_cameras,
    run_files,
    run_loop,
    run_pipeline,
)
from benchmarks.stream_table import table
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.processing.images import list_images, read_image
from ghost_deploy.runtimes.base import Hint
from ghost_deploy.stream.sources.uri import parse_source
from tests.support.camera_servers import RtspCamera


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
    hint: Hint = "latency" if args.kind == "live" else "throughput"  # several cameras too
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
