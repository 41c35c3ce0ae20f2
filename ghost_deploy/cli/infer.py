"""`ghost-deploy infer`: detect objects in images, videos and live streams."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.live_options import add_live_options, refuse_live_options
from ghost_deploy.cli.model import classes_of, conf_by_class, load_detector, say_what_runs
from ghost_deploy.cli.options import (
    add_bundle,
    add_run_options,
    add_switches,
    add_value,
    conf_limit,
    fraction,
    positive,
)
from ghost_deploy.cli.summary import Summary
from ghost_deploy.core.errors import ImageError

if TYPE_CHECKING:
    from ghost_deploy.core.detections import Detections
    from ghost_deploy.core.frame import Frame
    from ghost_deploy.stream.sinks.image_writer import ImageWriter
    from ghost_deploy.stream.sinks.jsonl_writer import JsonlWriter

DESCRIPTION = """\
Detect objects with a bundle, in images, videos and live streams. Without -o, --jsonl or --show it
prints a summary only. An image that cannot be read is named and left out; the others are done, and
the exit code is 2.

SOURCE is an image, a folder, a glob, a video, a camera (0, /dev/video0, csi://0), rtsp://, http://
(MJPEG), a GStreamer pipeline that ends in appsink, - (MJPEG on standard input), raw:WxH (BGR
images there), or @list.txt with a source a line. Of a live source the newest frame is taken and
the ones between are dropped and counted; a video is done frame by frame. A lost source is opened
again, and stops no other.
"""
EXAMPLES = """\
examples:
  ghost-deploy infer out/best image.jpg
  ghost-deploy infer out/best images -o annotated --jsonl detections.jsonl
  ghost-deploy infer out/best 'images/*.png' --runtime ort --precision fp16 --conf 0.4
  ghost-deploy infer out/best images --jsonl - | jq '.detections | length'
  ghost-deploy infer out/best drive.mp4 -o annotated --classes person,car
  ghost-deploy infer out/best rtsp://camera/stream 0 --jsonl out.jsonl --serve 127.0.0.1:8080
  ghost-deploy infer out/best @cameras.txt --fps 5 --skip-still --max-age 500 --mqtt mqtt://broker

A live run ends when all its sources are over (0, or 2 if one failed or results were lost), or on
SIGINT (130) or SIGTERM (143): frames under way are finished, and every file is closed. A full disk
stops a sink, not the run; --keep limits what is kept. docs/streams.md has all of it.

compiled models are kept in $XDG_CACHE_HOME/ghost-deploy (~/.cache/ghost-deploy), which may be
deleted at any time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_bundle(parser, help="folder that `export` wrote, or a checkpoint")
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="image, folder, glob, video, camera or address"
    )
    runtime = (
        "auto, openvino, trt, ort or eager; default: auto, the first of them that is installed, "
        "knows the device and has an artifact"
    )
    precision = "fp32, fp16, bf16 or int8 (default: the most exact there)"
    add_value(parser, "--runtime", "R", runtime, default="auto")
    add_value(parser, "--precision", "P", precision)
    parser.add_argument(
        "-o", "--out", metavar="DIR", help="write annotated images there, or videos of live sources"
    )
    add_value(parser, "--jsonl", "FILE", "write one JSON line a frame; - is standard output")
    add_switches(parser, {"--show": "show each image until a key press"})
    limits = parser.add_argument_group("thresholds (defaults: those of the bundle)")
    least = "least score, 0 to 1, of all classes or of one; may be repeated"
    add_value(limits, "--conf", "[CLASS=]C", least, conf_limit, action="append")
    add_value(limits, "--classes", "A,B", "classes to keep, by name or number")
    add_value(limits, "--iou", "I", "most overlap of a class, 0 to 1", fraction)
    add_value(limits, "--max-det", "N", "most detections an image", positive)
    failed = "run an artifact even if it failed its comparison with the checkpoint"
    add_switches(parser, {"--allow-failed-parity": failed})
    add_live_options(parser)
    add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Detect, write and summarize."""
    from ghost_deploy.stream.sources.uri import parse_sources

    sources = parse_sources(args.sources)
    if all(source.kind == "images" for source in sources):
        refuse_live_options(args)
        return _run_images(args, [source.target for source in sources], console)
    from ghost_deploy.cli.live import run_live

    return run_live(args, sources, console)


def _run_images(args: argparse.Namespace, sources: list[str], console: Console) -> int:
    from ghost_deploy import api
    from ghost_deploy.stream.sources.image_files import find_images

    paths = find_images(sources)
    unreadable: list[ImageError] = []
    summary = Summary()
    # A progress bar would break up lines that go to a terminal.
    steps = 0 if args.jsonl == "-" and console.out.isatty() else len(paths)
    with load_detector(args) as detector:
        say_what_runs(detector, console)
        results = api.infer(
            detector,
            paths,
            classes=classes_of(args),
            class_conf=conf_by_class(args),
            on_error=unreadable.append,
        )
        with _Outputs(args, console) as outputs, console.progress("detecting", steps) as progress:
            for frame, found in results:
                summary.add(frame, found)
                progress.update(frame.index + 1)
                if not outputs.write(frame, found):
                    break
    summary.print(console, console.err if args.jsonl == "-" else console.out)
    outputs.say_where()
    for error in unreadable:
        console.error(error)
    if unreadable:
        console.note(f"{len(unreadable)} of {len(paths)} images could not be read")
    return 2 if unreadable else 0


class _Outputs:
    """The outputs of a result besides the summary."""

    def __init__(self, args: argparse.Namespace, console: Console) -> None:
        self._console = console
        self._show = args.show
        self._folder = args.out
        self._jsonl = args.jsonl
        self._images: ImageWriter | None = None
        self._lines: JsonlWriter | None = None
        if args.out:
            from ghost_deploy.stream.sinks.image_writer import ImageWriter

            self._images = ImageWriter(Path(args.out))
        if args.jsonl:
            from ghost_deploy.stream.sinks.jsonl_writer import JsonlWriter

            self._lines = JsonlWriter(console.out if args.jsonl == "-" else Path(args.jsonl))

    def write(self, frame: Frame, found: Detections) -> bool:
        """Pass on one result; False when the user closed the window."""
        if self._lines:
            self._lines.write(frame, found)
        if not (self._images or self._show):
            return True
        from ghost_deploy.stream.draw import draw

        image = draw(frame.image, found)
        if self._images:
            self._images.write(frame, image)
        if not self._show:
            return True
        from ghost_deploy.stream.sinks.window import show

        return show(image, Path(frame.source).name)

    def say_where(self) -> None:
        """Name the places that were written to."""
        if self._folder:
            self._console.note(f"images: {self._folder}")
        if self._jsonl not in {None, "-"}:
            self._console.note(f"lines: {self._jsonl}")

    def __enter__(self) -> _Outputs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines:
            self._lines.close()
