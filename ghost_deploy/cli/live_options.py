"""The options of `infer` for cameras, streams and videos.

Each option is declared once: its destination is the field of `LivePolicy` that it sets, or the
sink that it opens. What they say about images and how they become a policy follows from that.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from ghost_deploy.cli.options import positive
from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.policy import LivePolicy, Roi
from ghost_deploy.stream.sinks.sink_table import SINKS

__all__ = ["add_live_options", "make_policy", "refuse_live_options", "sink_targets"]

_ALLOWED_WITH_IMAGES = frozenset({"batch_wait_ms", "rtsp_by", "read_timeout_s"})
_DEFAULTS = {field.name: field.default for field in fields(LivePolicy)}


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    actions: list[argparse.Action] = []

    def adder(title: str) -> Callable[..., None]:
        group = parser.add_argument_group(title)

        def add(flag: str, help: str, field: str = "", **options: Any) -> None:
            if field:
                options |= {"dest": field, "default": _DEFAULTS[field]}
            actions.append(group.add_argument(flag, help=help, **options))

        return add

    _add_frame_options(adder("live sources and videos: which frames"))
    _add_source_options(adder("live sources"))
    _add_sink_options(adder("where live results go, besides -o and --jsonl"))
    parser.set_defaults(live_options=actions)


def _add_frame_options(add: Callable[..., None]) -> None:
    add(
        "--max-age",
        "drop a live frame that waited longer",
        "max_age_ms",
        type=_above_zero,
        metavar="MS",
    )
    add(
        "--fps",
        "infer at most F frames a second of a source",
        "fps",
        type=_above_zero,
        metavar="F",
    )
    add("--every", "infer every Nth frame", "every", type=positive, metavar="N")
    add("--skip-still", "leave out frames without motion", "skip_still", action="store_true")
    add(
        "--roi",
        "infer that part only: source pixels, or fractions of width and height",
        "roi",
        type=Roi.parse,
        metavar="X1,Y1,X2,Y2",
    )
    add("--track", "give each object an id that it keeps over frames", action="store_true")
    add(
        "--batch",
        "infer the frames of up to N sources at once; the model must accept that "
        "(`export --dynamic`)",
        "batch",
        type=positive,
        metavar="N",
    )
    add(
        "--batch-wait",
        "how long a frame waits for others to make a batch (default: 10)",
        "batch_wait_ms",
        type=_above_zero,
        metavar="MS",
    )


def _add_source_options(add: Callable[..., None]) -> None:
    add(
        "--require-all",
        "fail if a source is missing at the start",
        "require_all",
        action="store_true",
    )
    add(
        "--give-up",
        "a source lost for S seconds has failed (default: it is tried forever)",
        "give_up_s",
        type=_above_zero,
        metavar="S",
    )
    add(
        "--rtsp-by",
        "what reads RTSP (default: auto, GStreamer if it has a Jetson's decoder, else FFmpeg)",
        "rtsp_by",
        choices=["auto", "ffmpeg", "gstreamer"],
    )
    add(
        "--timeout",
        "a source without frames for S seconds is lost (default: 5)",
        "read_timeout_s",
        type=_above_zero,
        metavar="S",
    )


def _add_sink_options(add: Callable[..., None]) -> None:
    for kind in SINKS:
        if kind.help:
            add(f"--{kind.option}", kind.help, metavar=kind.metavar)
    add(
        "--keep",
        "keep at most SIZE (as 500M, 20G) of videos, of snapshots and of lines each: the oldest "
        "are removed (default: all is kept, until the disk is nearly full)",
        type=_size,
        metavar="SIZE",
    )


def make_policy(args: argparse.Namespace) -> LivePolicy:
    """The settings that the options give."""
    given = {name: getattr(args, name) for name in _DEFAULTS if hasattr(args, name)}
    return LivePolicy(**given, open_timeout_s=2 * args.read_timeout_s)


def sink_targets(args: argparse.Namespace) -> dict[str, str]:
    """The value of each option that opens a sink, in the order of `SINKS`."""
    values = {kind.option: getattr(args, kind.option) for kind in SINKS}
    return {option: value for option, value in values.items() if value}


def refuse_live_options(args: argparse.Namespace) -> None:
    """Raise if an option was given that has no effect on images.

    Raises:
        UsageError: one was.
    """
    for action in args.live_options:
        changed = getattr(args, action.dest) != action.default
        if changed and action.dest not in _ALLOWED_WITH_IMAGES:
            flag = action.option_strings[0]
            raise UsageError(
                f"{flag} is for cameras, streams and videos",
                got="images only",
                fix=f"Omit {flag}, or add such a source",
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
