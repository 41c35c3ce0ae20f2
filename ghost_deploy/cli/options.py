"""Options that several commands share."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ghost_deploy.core.errors import UsageError

Arguments: TypeAlias = "argparse.ArgumentParser | argparse._ArgumentGroup"


def add_bundle(parser: Arguments, name: str = "bundle", **settings: Any) -> None:
    """The folder of a bundle, as a positional argument.

    Args:
        parser: of the command.
        name: of the argument.
        settings: of `add_argument`.
    """
    parser.add_argument(
        name, **{"metavar": "BUNDLE", "help": "folder that `export` wrote", **settings}
    )


def add_images(parser: Arguments, what: str) -> None:
    """`--images`; `what` says what they are for."""
    parser.add_argument("--images", metavar="DIR", help=f"images {what}")


def add_modules(parser: Arguments) -> None:
    """`--modules`, which may be repeated."""
    parser.add_argument(
        "--modules",
        metavar="FILE.py",
        action="append",
        default=[],
        help="Python file with classes that the checkpoint names; it is run, so trust it",
    )


def add_data(parser: Arguments, what: str, *, required: bool = False) -> None:
    """`--data` and `--split`; `what` describes the data."""
    parser.add_argument("--data", metavar="D", required=required, help=what)
    parser.add_argument(
        "--split", metavar="NAME", default="val", help="part of a data.yaml (default: val)"
    )


def add_max_drop(parser: Arguments, what: str) -> None:
    """`--max-drop`; `what` describes it."""
    parser.add_argument("--max-drop", type=points, metavar="POINTS", help=what)


def add_selection(parser: Arguments) -> None:
    """`--runtime` and `--precision`, each with several names."""
    parser.add_argument("--runtime", nargs="+", metavar="R", help="runtimes (default: all)")
    parser.add_argument("--precision", nargs="+", metavar="P", help="precisions (default: all)")


def add_switches(parser: Arguments, switches: Mapping[str, str]) -> None:
    """Options without a value; `switches` maps the option to its help."""
    for name, text in switches.items():
        parser.add_argument(name, action="store_true", help=text)


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
    return _number(text, lambda value: 0 <= value <= 1, "a number from 0 to 1")


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
    return _number(text, lambda value: 0 <= value < math.inf, "a number of points from 0")


def seconds(text: str) -> float:
    """A number of seconds above zero."""
    return _number(text, lambda value: 0 < value < math.inf, "a number of seconds above 0")


def _number(text: str, fits: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not fits(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value


def _whole(text: str, least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}")
    return value
