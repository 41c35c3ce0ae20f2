"""`ghost-deploy infer`: detect objects in images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.options import (
    add_run_options,
    fraction,
    positive,
    refuse_not_yet,
)
from ghost_deploy.cli.summary import Summary
from ghost_deploy.errors import ImageError

if TYPE_CHECKING:
    from ghost_deploy.detections import Detections
    from ghost_deploy.detector import Detector
    from ghost_deploy.frame import Frame
    from ghost_deploy.stream.sinks import JsonlWriter, PictureWriter

__all__ = ["DESCRIPTION", "EXAMPLES", "add_arguments", "run"]

DESCRIPTION = """\
Detect objects in images with a bundle. Without -o, --jsonl or --show it prints a summary only.
An image that cannot be read is named and left out; the others are done, and the exit code is 2.
"""
EXAMPLES = """\
examples:
  ghost-deploy infer out/best photo.jpg
  ghost-deploy infer out/best photos -o annotated --jsonl detections.jsonl
  ghost-deploy infer out/best 'photos/*.png' --runtime ort --precision fp16 --conf 0.4
  ghost-deploy infer out/best photos --jsonl - | jq '.detections | length'

compiled models are kept in $XDG_CACHE_HOME/ghost-deploy (~/.cache/ghost-deploy), which may be
deleted at any time.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="folder that `export` wrote, or a checkpoint"
    )
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="image, folder or glob; live video: not yet"
    )
    parser.add_argument(
        "--runtime",
        default="auto",
        metavar="R",
        help="auto, eager, ort, openvino or trt (not yet); default: auto, the first of openvino "
        "and ort that is installed",
    )
    parser.add_argument(
        "--precision", metavar="P", help="fp32, fp16, bf16 or int8 (default: the most exact there)"
    )
    parser.add_argument("-o", "--out", metavar="DIR", help="write annotated pictures there")
    parser.add_argument(
        "--jsonl", metavar="FILE", help="write one JSON line an image; - is standard output"
    )
    parser.add_argument("--show", action="store_true", help="show each picture until a key press")
    parser.add_argument("--serve", metavar="ADDR", help="serve a web view at ADDR (not yet)")
    limits = parser.add_argument_group("thresholds (defaults: those of the bundle)")
    limits.add_argument("--conf", type=fraction, metavar="C", help="least score, 0 to 1")
    limits.add_argument("--iou", type=fraction, metavar="I", help="most overlap of a class, 0 to 1")
    limits.add_argument("--max-det", type=positive, metavar="N", help="most detections an image")
    parser.add_argument(
        "--allow-failed-parity",
        action="store_true",
        help="run an artefact even if it failed its comparison with the checkpoint",
    )
    add_run_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Detect, write and summarise."""
    refuse_not_yet(args, {"--serve": "Write pictures with -o DIR, or lines with --jsonl FILE"})
    from ghost_deploy.stream.sources import find_images, read_frames

    paths = find_images(args.sources)
    unreadable: list[ImageError] = []
    summary = Summary()
    # Lines that go to a terminal would be torn apart by a bar.
    steps = 0 if args.jsonl == "-" and console.out.isatty() else len(paths)
    with _load(args) as detector:
        _say_what_runs(detector, console)
        with _Outputs(args, console) as outputs, console.progress("detecting", steps) as progress:
            for frame in read_frames(paths, lambda _, error: unreadable.append(error)):
                found = detector(frame)
                summary.add(frame, found)
                progress.reach(frame.index + 1)
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
    """Everything that is done with a result besides the summary."""

    def __init__(self, args: argparse.Namespace, console: Console) -> None:
        self._console = console
        self._show = args.show
        self._folder = args.out
        self._jsonl = args.jsonl
        self._pictures: PictureWriter | None = None
        self._lines: JsonlWriter | None = None
        if args.out:
            from ghost_deploy.stream.sinks import PictureWriter

            self._pictures = PictureWriter(Path(args.out))
        if args.jsonl:
            from ghost_deploy.stream.sinks import JsonlWriter

            self._lines = JsonlWriter(console.out if args.jsonl == "-" else Path(args.jsonl))

    def write(self, frame: Frame, found: Detections) -> bool:
        """Hand on one result; False when the user closed the window and wants no more."""
        if self._lines:
            self._lines.write(frame, found)
        if not (self._pictures or self._show):
            return True
        from ghost_deploy.stream.draw import draw

        picture = draw(frame.image, found)
        if self._pictures:
            self._pictures.write(frame, picture)
        if not self._show:
            return True
        from ghost_deploy.stream.window import show

        return show(picture, Path(frame.source).name)

    def say_where(self) -> None:
        """Name the places that were written to."""
        if self._folder:
            self._console.note(f"pictures: {self._folder}")
        if self._jsonl not in {None, "-"}:
            self._console.note(f"lines: {self._jsonl}")

    def __enter__(self) -> _Outputs:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines:
            self._lines.close()


def _load(args: argparse.Namespace) -> Detector:
    from ghost_deploy import api

    return api.load(
        args.bundle,
        args.runtime,
        args.precision,
        device=args.device,
        threads=args.threads,
        allow_fallback=args.allow_fallback,
        allow_failed_parity=args.allow_failed_parity,
        conf=args.conf,
        iou=args.iou,
        max_det=args.max_det,
    )


def _say_what_runs(detector: Detector, console: Console) -> None:
    info = detector.runtime.info
    threads = f", {info.threads} threads" if info.threads else ""
    precision = f"in {info.precision} " if info.precision else ""
    console.note(
        f"{detector.spec.name} {precision}on {info.runtime} {info.version}, {info.device}{threads}"
    )
    for note in info.notes:
        console.note(f"note: {note}")
