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

from ghost_deploy.cli.options import above_zero, positive
from ghost_deploy.cli.save_options import annotated_folder, saved_forms
from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.policy import LivePolicy, Roi
from ghost_deploy.stream.sinks.sink_table import SINKS

_ALLOWED_WITH_IMAGES = frozenset({"batch_wait_ms", "rtsp_by", "read_timeout_s"})
_DEFAULTS = {field.name: field.default for field in fields(LivePolicy)}


Add = Callable[..., None]


def add_live_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    actions: list[argparse.Action] = []

    def adder(title: str) -> Add:
        group = parser.add_argument_group(title)

        def add(flag: str, field: str, help: str, type: Any = None, *names: str) -> None:
            """Declare an option for a field of `LivePolicy`, if one is given; a flag without type.

            `names`: what the value is shown as, or several: the choices.
            """
            options: dict[str, Any] = {"type": type} if type else {"action": "store_true"}
            if names:
                options |= {"choices": names} if names[1:] else {"metavar": names[0]}
            if field:
                options |= {"dest": field, "default": _DEFAULTS[field]}
            actions.append(group.add_argument(flag, help=help, **options))

        return add

    _add_frame_options(adder("live sources and videos: which frames"))
    _add_source_options(adder("live sources"))
    _add_sink_options(adder("where live results go, besides -o and --jsonl"))
    parser.set_defaults(live_options=actions)


def _add_frame_options(add: Add) -> None:
    region = "infer that part only: source pixels, or fractions of width and height"
    batch = "infer the frames of up to N sources at once; the model must accept that (`export "
    batch += "--dynamic`)"
    lost = "exit with 1 if more of the frames of a video are lost: they do not decode, or the file "
    lost += "announces and does not hold them (default: 1)"
    wait = "how long a frame waits for others to make a batch (default: 10)"
    add("--max-age", "max_age_ms", "drop a live frame that waited longer", above_zero, "MS")
    add("--fps", "fps", "infer at most F frames a second of a source", above_zero, "F")
    add("--every", "every", "infer every Nth frame", positive, "N")
    add("--skip-still", "skip_still", "leave out frames without motion")
    add("--roi", "roi", region, Roi.parse, "X1,Y1,X2,Y2")
    add("--max-broken", "", lost, _percent, "PERCENT")
    add("--track", "", "give each object an id that it keeps over frames")
    add("--batch", "batch", batch, positive, "N")
    add("--batch-wait", "batch_wait_ms", wait, above_zero, "MS")


def _add_source_options(add: Add) -> None:
    forever = "a source lost for S seconds has failed (default: it is tried forever)"
    rtsp = "what reads RTSP (default: auto, GStreamer if it has a Jetson's decoder, else FFmpeg)"
    silence = "a source without frames for S seconds is lost (default: 5)"
    add("--require-all", "require_all", "fail if a source is missing at the start")
    add("--give-up", "give_up_s", forever, above_zero, "S")
    add("--rtsp-by", "rtsp_by", rtsp, str, "auto", "ffmpeg", "gstreamer")
    add("--timeout", "read_timeout_s", silence, above_zero, "S")


def _add_sink_options(add: Add) -> None:
    for kind in SINKS:
        if kind.help:
            needs = f" (needs ghost-deploy[{kind.extra}])" if kind.extra else ""
            add(f"--{kind.option}", "", kind.help + needs, str, kind.metavar)
    keep = "keep at most SIZE (as 500M, 20G) of videos, of snapshots and of lines each: the oldest "
    keep += "are removed (default: all is kept, until the disk is nearly full)"
    strict = (
        "/healthz of --serve answers 503 if any source or sink is not as it should be, not only "
    )
    strict += "when nothing works"
    add("--keep", "", keep, _size, "SIZE")
    add("--strict-health", "", strict)


def make_policy(args: argparse.Namespace) -> LivePolicy:
    """The settings that the options give."""
    given = {name: getattr(args, name) for name in _DEFAULTS if hasattr(args, name)}
    return LivePolicy(**given, open_timeout_s=2 * args.read_timeout_s)


def sink_targets(args: argparse.Namespace) -> dict[str, str]:
    """The value of each option that opens a sink, in the order of `SINKS`."""
    values = {kind.option: getattr(args, kind.option) for kind in SINKS}
    values |= {"out": annotated_folder(args), "save": args.out if saved_forms(args) else None}
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


def _percent(text: str) -> float:
    """`1` or `1%` as 0.01."""
    return above_zero(text.removesuffix("%")) / 100 if text not in {"0", "0%"} else 0.0


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6})([MGT])i?B?", text, re.IGNORECASE)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500M, 20G or 1T")
    return int(match[1]) << {"M": 20, "G": 30, "T": 40}[match[2].upper()]
