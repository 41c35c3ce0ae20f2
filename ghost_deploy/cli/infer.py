"""`ghost-deploy infer`: detect objects in images, videos and live streams."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.live_options import add_live_options, refuse_live_options
from ghost_deploy.cli.model import classes_of, conf_by_class, load_detector, say_what_runs
from ghost_deploy.cli.save_options import (
    add_save_options,
    annotated_folder,
    budget_of,
    kept_frames,
    saved_forms,
)
from ghost_deploy.cli.server_options import add_server_options
from ghost_deploy.cli.summary import Summary
from ghost_deploy.cli.threshold_options import add_thresholds
from ghost_deploy.core.errors import ImageError, UsageError

if TYPE_CHECKING:
    from ghost_deploy.core.detections import Detections
    from ghost_deploy.core.frame import Frame
    from ghost_deploy.detector import Detector

_MOST_REMARKS = 20

_Write: TypeAlias = "Callable[[Frame, Detections], bool]"
"""Passes on one result; False when the user closed the window."""

DESCRIPTION = """\
Detect objects with a bundle, in images, videos and live streams. Without -o, --jsonl or --show it
prints a summary only. An image that cannot be read is named and left out; the others are done, and
the exit code is 2 (--on-broken stop: nothing is done).

SOURCE is an image, a folder, a glob, a video, a camera (0, /dev/video0, csi://0), rtsp://, http://
(MJPEG, an image that is polled, HLS), rtmp://, udp://, a GStreamer pipeline that ends in
appsink, - (MJPEG on standard input), raw:WxH (BGR images there), or @list.txt with a source a line.
Of a live source the newest frame is taken and the ones between are dropped and counted; a video is
done frame by frame, and lost frames are told. A lost source is opened again, and stops no other.
"""
EXAMPLES = """\
examples:
  ghost-deploy infer out/best image.jpg
  ghost-deploy infer out/best images -o annotated --jsonl detections.jsonl
  ghost-deploy infer out/best 'images/*.png' --runtime ort --precision fp16 --conf 0.4
  ghost-deploy infer out/best images -o labels --save yolo,csv
  ghost-deploy infer out/best images --json | jq .classes
  ghost-deploy infer out/best images --jsonl - | jq '.detections | length'
  ghost-deploy infer out/best drive.mp4 -o annotated --classes person,car
  ghost-deploy infer out/best aerial.tif --slices 640 -o annotated
  ghost-deploy infer out/best rtsp://camera/stream 0 --jsonl out.jsonl --serve 127.0.0.1:8080
  ghost-deploy infer out/best rtsp://camera/stream --save-uncertain hard --budget 200
  ghost-deploy infer out/best images --runtime kserve --url grpc://server:8001/best_onnx-fp32
  ghost-deploy infer out/best @cameras.txt --fps 5 --skip-still --max-age 500 --mqtt mqtt://broker

A live run ends when all its sources are over (0; 1 if more than 1 % of the frames of a video were
lost; 2 if a source failed or results were lost), or on SIGINT (130) or SIGTERM (143): frames under
way are finished, and every file is closed. A full disk stops a sink, not the run; --keep limits
what is kept. docs/streams.md has all of it.

compiled models are kept in $XDG_CACHE_HOME/ghost-deploy (~/.cache/ghost-deploy), which may be
deleted at any time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    text = "folder that `export` wrote, a checkpoint, or the address of a model on a server"
    options.add_bundle(parser, help=text)
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="image, folder, glob, video, camera or address"
    )
    runtime = (
        f"{options.runtime_names()}, or {options.runtime_names(remote=True)} (on a server, with "
        "--url); default: auto, the first of the others that is installed, knows the device and "
        "has an artifact"
    )
    precision = (
        "fp32, fp16, bf16 or int8 (default: the most exact there); fastest: the fastest that "
        "ghost-deploy check has verified on this machine"
    )
    options.add_value(parser, "--runtime", "R", runtime, default="auto")
    options.add_value(parser, "--precision", "P", precision)
    parser.add_argument(
        "-o", "--out", metavar="DIR", help="write annotated images there, or videos of live sources"
    )
    add_save_options(parser)
    options.add_value(
        parser, "--jsonl", "FILE", "append one JSON line a frame; - is standard output"
    )
    options.add_switches(parser, {"--show": "show each image until a key press"})
    add_thresholds(parser)
    options.add_slices(parser)
    failed = "run an artifact even if it failed its comparison with the checkpoint"
    unchecked = "do not check an artifact that was never loaded on this machine"
    options.add_switches(parser, {"--no-check": unchecked, "--allow-failed-parity": failed})
    options.add_image_limits(parser)
    options.add_json(parser)
    options.add_log(parser)
    add_live_options(parser)
    options.add_on(parser)
    options.add_run_options(parser)
    add_server_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Detect, write and summarize."""
    from ghost_deploy.stream.sources.uri import parse_sources

    if args.json and args.jsonl == "-":
        raise UsageError(
            "--json and --jsonl - both take standard output", fix="Give --jsonl a file"
        )
    sources = parse_sources(args.sources, console.note)
    if all(source.kind == "images" for source in sources):
        refuse_live_options(args)
        return _run_images(args, [source.target for source in sources], console)
    if args.on_broken == "stop":
        raise UsageError(
            "--on-broken stop is for images alone; videos and cameras go on",
            fix="Leave it out",
        )
    from ghost_deploy.cli.live import run_live

    return run_live(args, sources, console)


def _run_images(args: argparse.Namespace, sources: list[str], console: Console) -> int:
    from ghost_deploy.stream.sources.image_files import find_images

    forms = saved_forms(args)
    paths = find_images(sources)
    if args.on_broken == "stop":
        from ghost_deploy.processing.broken_images import readable_images

        with console.progress("checking", len(paths)) as show:
            readable_images(paths, "stop", lambda _what, done, _total: show(done + 1))
    unreadable: list[ImageError] = []
    summary = Summary()
    # A progress bar would break up lines that go to a terminal.
    steps = 0 if args.jsonl == "-" and console.out.isatty() else len(paths)
    hint = _for_one_image() if len(paths) == 1 else {}
    with load_detector(args, **hint) as detector:
        say_what_runs(detector, console)
        results, count_kept = _results(args, detector, paths, unreadable.append)
        names = detector.spec.class_names
        with (
            _named_remarks(console),
            _open_outputs(args, forms, paths, names, console) as write,
            console.progress("detecting", steps) as show,
        ):
            try:
                for frame, found in results:
                    summary.add(frame, found)
                    show(frame.index + 1)
                    if not write(frame, found):
                        break
            except KeyboardInterrupt:
                console.note(f"{summary.images} of {len(paths)} images are done")
                raise
    if args.json:
        console.document(summary.document([str(error) for error in unreadable]))
    else:
        console.outcome(lambda to: summary.print(console, to), is_result=args.jsonl != "-")
    kept = f" ({kept_frames(count_kept(), budget_of(args))})" if count_kept else ""
    outputs = (
        ("images", annotated_folder(args), ""),
        ("results", args.out if forms else None, ""),
        ("uncertain frames", args.save_uncertain, kept),
    )
    for name, target, number in (*outputs, ("lines", args.jsonl, "")):
        if target not in (None, "-"):
            console.note(f"{name}: {target}{number}")
    for error in unreadable:
        console.error(error)
    if unreadable:
        console.note(f"{len(unreadable)} of {len(paths)} images could not be read")
    return 2 if unreadable else 0


@contextlib.contextmanager
def _named_remarks(console: Console) -> Iterator[None]:
    """What decoders print, with the name of the file, as warnings at the end of the block."""
    from ghost_deploy.processing.decoder_remarks import named_remarks

    said: list[str] = []
    try:
        with named_remarks(said.append):
            yield
    finally:
        for remark in said[:_MOST_REMARKS]:
            console.note(f"warning: {remark}", "warning")
        if (left := len(said) - _MOST_REMARKS) > 0:
            console.note(f"warning: {left} more images with such remarks", "warning")


def _for_one_image() -> dict[str, str]:
    """What to load the model with for a single run; the process is made small for it."""
    from ghost_deploy.stream.malloc import return_large_blocks

    return_large_blocks()
    return {"hint": "once"}


def _results(
    args: argparse.Namespace,
    detector: Detector,
    paths: Sequence[Path],
    on_error: Callable[[ImageError], None],
) -> tuple[Iterator[tuple[Frame, Detections]], Callable[[], int] | None]:
    """The detections of each image, and the number of uncertain ones, which are kept on the way."""
    from ghost_deploy import api

    budget = budget_of(args)
    classes, class_conf = classes_of(args), conf_by_class(args)
    if not args.save_uncertain:
        found = api.infer(
            detector, paths, classes=classes, class_conf=class_conf, on_error=on_error
        )
        return found, None
    from ghost_deploy.api.stream import select_classes
    from ghost_deploy.stream.saved.uncertain_frames import UncertainWriter

    opened, wanted = select_classes(detector, classes, class_conf)
    uncertain = UncertainWriter(opened, args.save_uncertain, budget, wanted.limits)

    def passed_on() -> Iterator[tuple[Frame, Detections]]:
        for frame, found in api.infer(uncertain.detector, paths, on_error=on_error):
            uncertain.write(frame, found)
            yield frame, wanted(found)

    return passed_on(), uncertain.__len__


@contextlib.contextmanager
def _open_outputs(
    args: argparse.Namespace,
    forms: Sequence[str],
    paths: Sequence[Path],
    class_names: Sequence[str],
    console: Console,
) -> Iterator[_Write]:
    """Open the outputs besides the summary; a window that the user closes ends the run."""
    folder = annotated_folder(args)
    images, saved, lines = None, None, None
    # Each is imported where it is asked for: a summary alone needs none of them.
    if folder:
        from ghost_deploy.stream.sinks.image_writer import ImageWriter

        images = ImageWriter(Path(folder), overwrite=args.overwrite)
        images.require_free(paths)
    if forms:
        from ghost_deploy.stream.saved.result_writer import ResultWriter

        saved = ResultWriter(args.out, forms, class_names, overwrite=args.overwrite)
        saved.require_apart(paths)
    if args.jsonl:
        from ghost_deploy.stream.sinks.jsonl_writer import JsonlWriter

        target = console.out if args.jsonl == "-" else Path(args.jsonl)
        lines = JsonlWriter(target, append=True)

    def write(frame: Frame, found: Detections) -> bool:
        if lines:
            lines.write(frame, found)
        if saved:
            saved.write(frame, found)
        if not (images or args.show):
            return True
        from ghost_deploy.stream.draw import draw
        from ghost_deploy.stream.sinks.window import show

        image = draw(frame.image, found)
        if images:
            images.write(frame, image)
        return not args.show or show(image, Path(frame.source).name)

    with lines or contextlib.nullcontext(), saved or contextlib.nullcontext():
        yield write
