"""The options of `infer` for cameras, streams and videos."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from ghost_deploy.cli.options import positive
from ghost_deploy.core.errors import UsageError

if TYPE_CHECKING:
    from ghost_deploy.stream.policy import LivePolicy

__all__ = ["TOKEN_VARIABLE", "add_live_options", "make_policy", "refuse_live_options"]

TOKEN_VARIABLE = "GHOST_DEPLOY_TOKEN"
"""Environment variable with the token of the web view: a command line can be read by all users."""


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    _add_frame_options(parser)
    _add_source_options(parser)
    _add_sink_options(parser)


def _add_frame_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("live sources and videos: which frames")
    add = group.add_argument
    add("--max-age", type=_above_zero, metavar="MS", help="drop a live frame that waited longer")
    add("--fps", type=_above_zero, metavar="F", help="infer at most F frames a second of a source")
    add("--every", type=positive, default=1, metavar="N", help="infer every Nth frame")
    add("--skip-still", action="store_true", help="leave out frames in which nothing moved")
    add(
        "--roi",
        metavar="X1,Y1,X2,Y2",
        help="infer that part only: source pixels, or fractions of width and height",
    )
    add("--track", action="store_true", help="give each object an id that it keeps over frames")
    add(
        "--batch",
        type=positive,
        default=1,
        metavar="N",
        help="infer the frames of up to N sources at once; the model must accept that "
        "(`export --dynamic`)",
    )
    add(
        "--batch-wait",
        type=_above_zero,
        default=10.0,
        metavar="MS",
        help="how long a frame waits for others to make a batch (default: 10)",
    )


def _add_source_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("live sources").add_argument
    add("--require-all", action="store_true", help="fail if a source is not there at the start")
    add(
        "--give-up",
        type=_above_zero,
        metavar="S",
        help="a source lost for S seconds has failed (default: it is tried for ever)",
    )
    add(
        "--rtsp-by",
        choices=["auto", "ffmpeg", "gstreamer"],
        default="auto",
        help="what reads RTSP (default: auto, GStreamer where it has a Jetson's decoder, else "
        "FFmpeg)",
    )
    add(
        "--timeout",
        type=_above_zero,
        default=5.0,
        metavar="S",
        help="a source that is silent for S seconds is lost (default: 5)",
    )


def _add_sink_options(parser: argparse.ArgumentParser) -> None:
    sinks = parser.add_argument_group("where live results go, besides -o and --jsonl")
    add = sinks.add_argument
    add(
        "--serve",
        metavar="HOST:PORT",
        help=f"serve a web view and metrics; from other machines only with the token in "
        f"${TOKEN_VARIABLE}",
    )
    add("--snapshots", metavar="DIR", help="a picture there when something is detected")
    add(
        "--keep",
        type=_size,
        metavar="SIZE",
        help="keep at most SIZE (as 500M, 20G) of videos, of snapshots and of lines each: the "
        "oldest are removed (default: all is kept, until the disk is nearly full)",
    )
    add("--webhook", metavar="URL", help="POST results with detections there, as JSON")
    add("--mqtt", metavar="URL", help="publish results with detections, mqtt://host/topic")


def make_policy(args: argparse.Namespace) -> LivePolicy:
    """What the options say about frames and sources.

    Raises:
        UsageError: `--roi` is no region.
    """
    from ghost_deploy.stream.policy import LivePolicy, Roi

    return LivePolicy(
        max_age_ms=args.max_age,
        fps=args.fps,
        every=args.every,
        skip_still=args.skip_still,
        roi=Roi.parse(args.roi) if args.roi is not None else None,
        require_all=args.require_all,
        give_up_s=args.give_up,
        rtsp_by=args.rtsp_by,
        batch=args.batch,
        batch_wait_ms=args.batch_wait,
        open_timeout_s=2 * args.timeout,
        read_timeout_s=args.timeout,
    )


def refuse_live_options(args: argparse.Namespace) -> None:
    """Raise if an option was given that says nothing about images.

    Raises:
        UsageError: one was.
    """
    given = {
        "--max-age": args.max_age,
        "--fps": args.fps,
        "--every": args.every > 1,
        "--skip-still": args.skip_still,
        "--roi": args.roi,
        "--track": args.track,
        "--require-all": args.require_all,
        "--give-up": args.give_up,
        "--batch": args.batch > 1,
        "--serve": args.serve,
        "--snapshots": args.snapshots,
        "--keep": args.keep,
        "--webhook": args.webhook,
        "--mqtt": args.mqtt,
    }
    for flag, value in given.items():
        if value:
            raise UsageError(
                f"{flag} is for cameras, streams and videos",
                got="images only",
                fix=f"Leave {flag} away, or add such a source",
            )


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([MGT])i?B?", text, re.IGNORECASE)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500M, 20G or 1T")
    return int(match[1]) << {"M": 20, "G": 30, "T": 40}[match[2].upper()]


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
