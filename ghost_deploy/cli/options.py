"""Options that several commands share."""

from __future__ import annotations

import argparse
import math

from ghost_deploy.core.errors import UsageError

__all__ = [
    "add_json",
    "add_run_options",
    "conf_limit",
    "fraction",
    "image_size",
    "natural",
    "points",
    "positive",
]


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`: one document on standard output and nothing else there."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document on standard output"
    )


def add_run_options(parser: argparse.ArgumentParser, *, several_threads: bool = False) -> None:
    """The options of every command that runs a model.

    Args:
        several_threads: `--threads` takes a list of counts.
    """
    group = parser.add_argument_group("running")
    group.add_argument(
        "--device",
        default="cpu",
        metavar="DEVICE",
        help="cpu, cuda[:N], gpu, npu or dla:N (default: cpu)",
    )
    group.add_argument(
        "--threads",
        type=natural,
        nargs="+" if several_threads else None,
        default=[0] if several_threads else 0,
        metavar="N",
        help="CPU threads; 0 lets the runtime choose (default: 0)",
    )
    group.add_argument(
        "--allow-fallback",
        action="store_true",
        help="accept another device or precision than the one asked for, and say so",
    )


def positive(text: str) -> int:
    """A whole number above zero."""
    return _whole(text, 1)


def natural(text: str) -> int:
    """A whole number, zero or more."""
    return _whole(text, 0)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def conf_limit(text: str) -> tuple[str | None, float]:
    """`0.4`, or `CLASS=0.4`: the class, None for all, and its limit from 0 to 1."""
    name, equals, value = text.rpartition("=")
    return (name if equals else None), fraction(value)


def image_size(sides: list[int] | None) -> int | tuple[int, int] | None:
    """What `--imgsz` means: a side, or height and width; None where it was not given.

    Raises:
        UsageError: more than two numbers.
    """
    if not sides:
        return None
    if len(sides) > 2:
        raise UsageError(
            "--imgsz takes one number or two",
            got=" ".join(map(str, sides)),
            fix="Give the side of a square, or height and width",
        )
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def points(text: str) -> float:
    """A number of points of mAP, zero or more."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of points from 0")
    return value


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
    return value
