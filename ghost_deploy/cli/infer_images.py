"""`infer` over images: a summary, and the outputs that were asked for."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.model import classes_of, conf_by_class, load_detector, say_what_runs
from ghost_deploy.cli.save_options import annotated_folder, budget_of, kept_frames, saved_forms
from ghost_deploy.cli.summary import Summary
from ghost_deploy.core.errors import ImageError

if TYPE_CHECKING:
    from ghost_deploy.core.detections import Detections
    from ghost_deploy.core.frame import Frame
    from ghost_deploy.detector import Detector

_MOST_REMARKS = 20

_Write: TypeAlias = "Callable[[Frame, Detections], bool]"
"""Passes on one result; False when the user closed the window."""


def run_images(args: argparse.Namespace, sources: list[str], console: Console) -> int:
    """Detect, write and summarize; the exit code."""
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
    _say_outputs(args, kept_frames(count_kept(), budget_of(args)) if count_kept else "", console)
    for error in unreadable:
        console.error(error)
    if unreadable:
        console.note(f"{len(unreadable)} of {len(paths)} images could not be read")
    return 2 if unreadable else 0


def _say_outputs(args: argparse.Namespace, kept: str, console: Console) -> None:
    """Say where the outputs are, and how many uncertain frames were `kept`."""
    outputs = {
        "images": annotated_folder(args),
        "results": args.out if saved_forms(args) else None,
        "uncertain frames": args.save_uncertain,
        "lines": args.jsonl,
    }
    for name, target in outputs.items():
        if target not in (None, "-"):
            number = f" ({kept})" if kept and name == "uncertain frames" else ""
            console.note(f"{name}: {target}{number}")


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
    from ghost_deploy.api.infer import infer_images

    budget = budget_of(args)
    classes, class_conf = classes_of(args), conf_by_class(args)
    if not args.save_uncertain:
        found = infer_images(
            detector, paths, classes=classes, class_conf=class_conf, on_error=on_error
        )
        return found, None
    from ghost_deploy.api.stream import select_classes
    from ghost_deploy.stream.saved.uncertain_frames import UncertainWriter

    opened, wanted = select_classes(detector, classes, class_conf)
    uncertain = UncertainWriter(opened, args.save_uncertain, budget, wanted.limits)

    def passed_on() -> Iterator[tuple[Frame, Detections]]:
        for frame, found in infer_images(uncertain.detector, paths, on_error=on_error):
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
