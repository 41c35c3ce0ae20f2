"""`ghost-deploy batch`: detect objects in an archive, on this machine or a cluster."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from ghost_deploy.cli import options
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.format import clock, plural
from ghost_deploy.cli.model import classes_of, conf_by_class
from ghost_deploy.cli.threshold_options import add_thresholds

if TYPE_CHECKING:
    from ghost_deploy.batch.run_progress import BatchProgress
    from ghost_deploy.batch.run_record import BatchReport

DESCRIPTION = """\
Detect objects in many images and videos and write the results as Parquet: one row for each image
and each frame that is taken. Run the same command again and it continues with what has no row yet,
also after a kill, a full disk or lost access; no row is there twice. A source that cannot be read
is a row with its error.

INPUT is a folder with all below it, an image, a video, a pattern, a list of paths (list.txt or
@list), or a Parquet file with a column of paths; on this machine, or s3://, gs:// and what else
pyarrow or fsspec opens. OUT is a folder or such an address.
"""
EXAMPLES = """\
examples:
  ghost-deploy batch out/best images -o results
  ghost-deploy batch out/best drive.mp4 'clips/*.mp4' -o results --every-seconds 0.5
  ghost-deploy batch out/best index.parquet --path-column url -o s3://bucket/results
  ghost-deploy batch out/best s3://bucket/images -o s3://bucket/results --engine ray --address auto
  duckdb -c "select * from 'results/*.parquet' where len(boxes) > 0"

exit code 0: every source has its rows, those with errors too; 2 if no source at all could be read.
docs/scale.md has all of it.
"""

_PLAIN_EVERY_S = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    options.add_bundle(parser, help="folder that `export` wrote, or a model file")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="images, videos, lists of them")
    text = "folder or address that the Parquet parts are written to"
    parser.add_argument("-o", "--out", metavar="OUT", required=True, help=text)
    _add_sources(parser)
    _add_engine(parser)
    runtime = f"{options.runtime_names()} (default: auto)"
    options.add_value(parser, "--runtime", "R", runtime, default="auto")
    precision = "fp32, fp16, bf16, int8 or fastest, as in infer (default: the most exact there)"
    options.add_value(parser, "--precision", "P", precision)
    text = "images that the model runs at once (default: 1)"
    options.add_value(parser, "--batch", "N", text, options.positive, default=1)
    add_thresholds(parser)
    options.add_slices(parser)
    failed = "run an artifact even if it failed its comparison with the checkpoint"
    unchecked = "do not check an artifact that was never loaded on this machine"
    options.add_switches(parser, {"--no-check": unchecked, "--allow-failed-parity": failed})
    options.add_json(parser)
    options.add_run_options(parser, default_threads=1)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sources")
    options.add_image_limits(group, broken=False)
    text = "take every Nth frame of videos (default: 1)"
    options.add_value(group, "--every", "N", text, options.positive, default=1)
    text = "take a frame of videos every S seconds instead"
    options.add_value(group, "--every-seconds", "S", text, options.above_zero, dest="every_s")
    text = "with the paths, of Parquet inputs (default: path, source, file, image, url ...)"
    options.add_value(group, "--path-column", "NAME", text)
    again = "read sources again whose rows hold an error, and replace those rows"
    redo = "look at every source that has rows, and detect those again that have changed since"
    options.add_switches(group, {"--retry-errors": again, "--redo-changed": redo})
    text = "most rows of a part (default: 16 to 1000, from the size of the run)"
    options.add_value(group, "--part-rows", "N", text, options.positive)


def _add_engine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("engine")
    text = (
        "local: processes of this machine; ray: a cluster; auto: ray if --address names a cluster "
        "and there are 3000 sources or more (default: auto)"
    )
    group.add_argument("--engine", choices=("auto", "local", "ray"), default="auto", help=text)
    text = "Ray cluster, e.g. auto or host:6379; local starts one for this run"
    options.add_value(group, "--address", "ADDR", text)
    text = "how many work side by side (default: one for each core of the machine or cluster)"
    options.add_value(group, "--workers", "N", text, options.positive)


def run(args: argparse.Namespace, console: Console) -> int:
    """Detect, write and summarize."""
    from ghost_deploy import api

    plain = [limit for name, limit in args.conf or () if name is None]
    with _Display(console) as display:
        report = api.run_batch(
            args.bundle,
            args.inputs,
            args.out,
            engine=args.engine,
            address=args.address,
            workers=args.workers,
            runtime=args.runtime,
            precision=args.precision,
            device=args.device,
            threads=args.threads,
            batch=args.batch,
            conf=plain[-1] if plain else None,
            iou=args.iou,
            max_det=args.max_det,
            agnostic=args.agnostic,
            classes=classes_of(args),
            class_conf=conf_by_class(args),
            every=args.every,
            every_s=args.every_s,
            path_column=args.path_column,
            part_rows=args.part_rows,
            max_pixels=args.max_pixels,
            retry_errors=args.retry_errors,
            redo_changed=args.redo_changed,
            allow_fallback=args.allow_fallback,
            allow_failed_parity=args.allow_failed_parity,
            check=not args.no_check,
            progress=display.show,
            note=display.note,
            **options.slices_of(args),
        )
    _tell_errors(console, report)
    if args.json:
        console.document(report)
    else:
        _print(console, report)
    return 2 if 0 < report.total_rows == report.total_errors else 0


def _print(console: Console, report: BatchReport) -> None:
    console.facts(
        [
            ("sources", f"{report.sources}, {report.skipped} of them done before"),
            ("rows", f"{report.rows} in {report.seconds:.1f} s, {report.errors} with errors"),
            *([("rate", _rate(report))] if report.rows else []),
            (
                "output",
                f"{report.out}: {plural(report.total_rows, 'row')} in "
                f"{plural(report.parts, 'part')}",
            ),
        ]
    )
    if report.total_errors:
        one = report.total_errors == 1
        console.note(
            f"{plural(report.total_errors, 'row')} hold{'s' if one else ''} an error (column "
            f"error); --retry-errors reads {'it' if one else 'them'} again"
        )


def _tell_errors(console: Console, report: BatchReport) -> None:
    """Name the first sources that could not be read."""
    for source, reason in report.first_errors:
        console.note(reason if source in reason else f"{source}: {reason}")
    more = report.total_errors - len(report.first_errors)
    if report.first_errors and more:
        console.note(f"and {more} more")


def _rate(report: BatchReport) -> str:
    """Rows a second of the whole run, and of the time in which workers were ready."""
    of_run = report.rows / report.seconds if report.seconds else 0.0
    workers = plural(len(report.workers), "worker")
    return f"{of_run:.4g} rows/s; {report.rate:g} without the start, by {workers}"


class _Display:
    """The progress as a line: drawn anew on a terminal, else a line every ten seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told_s = time.monotonic()
        self._width = 0

    def show(self, progress: BatchProgress) -> None:
        """Show how far the run is."""
        text = _line(progress)
        if self._console.is_terminal:
            self._draw(text)
        elif time.monotonic() - self._told_s >= _PLAIN_EVERY_S:
            self._told_s = time.monotonic()
            self._console.note(text)

    def note(self, text: str) -> None:
        """A line that stays."""
        self._draw("")
        self._console.note(text)

    def _draw(self, text: str) -> None:
        if not text and not self._width:
            return
        print(f"\r{text:<{self._width}}\r{text}", end="", file=self._console.err, flush=True)
        self._width = len(text)

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        self._draw("")


def _line(progress: BatchProgress) -> str:
    """For example `412 of 5000, 38.4/s (0: 19.3, 1: 19.1), 2:00 left, 3 errors`."""
    rates = ", ".join(f"{name}: {rate:.1f}" for name, rate in list(progress.workers.items())[:8])
    text = f"{int(progress.done)} of {progress.total}, {progress.rate:.1f}/s"
    text += f" ({rates})" if rates else ""
    if progress.remaining_s is not None:
        text += f", {clock(progress.remaining_s)} left"
    if progress.errors:
        text += f", {plural(progress.errors, 'error')}"
    if progress.restarts:
        text += f", {plural(progress.restarts, 'worker')} replaced"
    return text
