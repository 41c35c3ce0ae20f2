"""Options that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from ghost_deploy.core.errors import UsageError
from ghost_deploy.runtimes.runtime_names import FILE_RUNTIMES, SERVER_RUNTIMES

N = TypeVar("N", int, float)
_OF_THE_COMMAND = ("command", "debug", "json", "max_pixels", "trust", "on", "wheels", "clean")
"""What `cli.main` and a command's output take from the arguments, not a verb."""

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


def add_value(
    parser: Arguments,
    flag: str,
    metavar: str | tuple[str, ...],
    help: str,
    type: Callable[[str], object] = str,
    **settings: Any,
) -> None:
    """An option with a value; `settings` are further ones of `add_argument`."""
    parser.add_argument(flag, metavar=metavar, help=help, type=type, **settings)


def add_images(parser: Arguments, what: str) -> None:
    """`--images`; `what` says what they are for."""
    add_value(parser, "--images", "DIR", f"images {what}")


def add_image_limits(parser: Arguments, *, broken: bool = True) -> None:
    """`--max-pixels`, and `--on-broken` if `broken`."""
    if broken:
        text = (
            "images that cannot be read: skip them and count them, or stop before the work starts "
            "(default: skip)"
        )
        parser.add_argument("--on-broken", choices=("skip", "stop"), default="skip", help=text)
    text = "largest image that is read, width times height (default: 120000000)"
    add_value(parser, "--max-pixels", "N", text, positive)


def add_most_images(parser: Arguments) -> None:
    """`--max-images` and `--all`."""
    text = "images to compare on at most, chosen at random, always the same ones (default: 100)"
    add_value(parser, "--max-images", "N", text, positive, default=100)
    parser.add_argument(
        "--all",
        action="store_const",
        const=None,
        dest="max_images",
        help="compare on all images",
    )


def add_modules(parser: Arguments) -> None:
    """`--modules`, which may be repeated."""
    parser.add_argument(
        "--modules",
        metavar="FILE.py",
        action="append",
        default=[],
        help="Python file with classes that the checkpoint names; it is run, so trust it",
    )


def add_fork(parser: Arguments) -> None:
    """`--fork` and `--fork-unconfined`."""
    add_value(
        parser,
        "--fork",
        "DIR_OR_FILE",
        "the code that the checkpoint was trained with, e.g. the folder that holds ultralytics/; "
        "it is run, in a process without network that can write nothing, so trust it",
    )
    text = "run it also where the kernel cannot confine it, with all your rights"
    add_switches(parser, {"--fork-unconfined": text})


def add_other_checkpoint(parser: Arguments) -> None:
    """`--other-checkpoint`."""
    text = "go on although the bundle was exported from another checkpoint"
    add_switches(parser, {"--other-checkpoint": text})


def add_data(parser: Arguments, what: str, *, required: bool = False) -> None:
    """`--data` and `--split`; `what` describes the data."""
    add_value(parser, "--data", "DATA", what, required=required)
    add_value(parser, "--split", "NAME", "part of a data.yaml (default: val)", default="val")


def add_max_drop(parser: Arguments, what: str) -> None:
    """`--max-drop`; `what` describes it."""
    add_value(parser, "--max-drop", "POINTS", what, points)


def add_selection(parser: Arguments) -> None:
    """`--runtime` and `--precision`, each with several names."""
    known = {"runtime": f": {runtime_names().removeprefix('auto, ')}", "precision": ""}
    for name, metavar in (("runtime", "R"), ("precision", "P")):
        text = f"{name}s{known[name]} (default: all)"
        add_value(parser, f"--{name}", metavar, text, nargs="+", dest=f"{name}s")


def runtime_names(*, remote: bool = False) -> str:
    """`auto` and the runtimes that open files, or with `remote` those of servers, for `--help`."""
    names = SERVER_RUNTIMES if remote else ("auto", *FILE_RUNTIMES)
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def add_switches(parser: Arguments, switches: Mapping[str, str]) -> None:
    """Options without a value; `switches` maps the option to its help."""
    for name, text in switches.items():
        parser.add_argument(name, action="store_true", help=text)


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`: one document on standard output and nothing else there."""
    add_switches(parser, {"--json": "print one JSON document on standard output"})


def add_log(parser: argparse.ArgumentParser) -> None:
    """`--log-json` and `--log-level`."""
    group = parser.add_argument_group("messages, on standard error")
    add_switches(group, {"--log-json": "one JSON object a line: time, level, message, facts"})
    text = "least level that is shown: debug, info, warning or error (default: info)"
    levels = ("debug", "info", "warning", "error")
    group.add_argument("--log-level", choices=levels, metavar="LEVEL", help=text)


def add_trust(parser: Arguments) -> None:
    """`--trust`."""
    text = "refuse a bundle that none of the signers in FILE has signed (docs/signing.md; default: "
    add_value(parser, "--trust", "FILE", text + "$GHOST_DEPLOY_TRUST)")


def add_on(parser: argparse.ArgumentParser) -> None:
    """`--on`, `--wheels` and `--clean`: run the command on boards."""
    group = parser.add_argument_group("on boards at the other end of an SSH line")
    text = "run there, ssh://[user@]host[:port][/folder]; may be repeated (docs/howto)"
    add_value(group, "--on", "BOARD", text, action="append")
    text = "wheels for boards without a network; what is missing is fetched into DIR here"
    add_value(group, "--wheels", "DIR", text)
    text = "remove from the boards what earlier commands left there, and do nothing else"
    add_switches(group, {"--clean": text})


def refuse_without_boards(args: argparse.Namespace) -> None:
    """Raise for options that only mean something with `--on`.

    Raises:
        UsageError: one was given.
    """
    for flag in ("wheels", "clean"):
        if getattr(args, flag, None):
            raise UsageError(
                f"--{flag} is for boards", fix="Add --on ssh://user@board, or leave it out"
            )


def add_slices(parser: Arguments) -> None:
    """`--slices` and `--overlap`."""
    text = "also look into square slices of N pixels, for small objects in large images"
    add_value(parser, "--slices", "N", text, positive)
    text = "share of a slice that neighboring ones have in common (default: 0.2)"
    add_value(parser, "--overlap", "F", text, fraction)


def slices_of(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments of a verb for `add_slices`.

    Raises:
        UsageError: an overlap without slices.
    """
    if args.slices is None and args.overlap is not None:
        raise UsageError("--overlap is that of --slices", fix="Add --slices N, e.g. 640")
    overlap = {} if args.overlap is None else {"overlap": args.overlap}
    return {"slices": args.slices, **overlap}


def add_run_options(
    parser: argparse.ArgumentParser, *, several_threads: bool = False, default_threads: int = 0
) -> None:
    """The options of every command that runs a model.

    Args:
        several_threads: `--threads` takes a list of counts.
        default_threads: without `--threads`.
    """
    group = parser.add_argument_group("running")
    devices = "cpu, cuda[:N], gpu, npu or dla:N (default: cpu)"
    add_value(group, "--device", "DEVICE", devices, default="cpu")
    text = f"CPU threads; 0 lets the runtime choose (default: {default_threads})"
    several: dict[str, Any] = {"default": default_threads}
    if several_threads:
        several = {"nargs": "+", "default": [default_threads]}
    add_value(group, "--threads", "N", text, natural, **several)
    text = "accept another device or precision than the one asked for, and say so"
    add_switches(group, {"--allow-fallback": text})
    add_trust(group)


def arguments(args: argparse.Namespace, *without: str) -> dict[str, Any]:
    """The arguments of a verb: options are stored under the names of its parameters.

    Args:
        args: of the command.
        without: options of the command alone, besides those of all commands.
    """
    return {k: v for k, v in vars(args).items() if k not in {*_OF_THE_COMMAND, *without}}


def positive(text: str) -> int:
    """A whole number above zero."""
    return _number(text, int, lambda value: value >= 1, "a whole number from 1")


def natural(text: str) -> int:
    """A whole number, zero or more."""
    return _number(text, int, lambda value: value >= 0, "a whole number from 0")


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


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
    return _number(text, float, lambda value: 0 <= value < math.inf, "a number of points from 0")


def seconds(text: str) -> float:
    """A number of seconds, zero or more."""
    return _number(text, float, lambda value: 0 <= value < 1e9, "a number from 0")


def above_zero(text: str) -> float:
    """A number above zero."""
    return _number(text, float, lambda value: 0 < value < 1e9, "a number above 0")


def _number(text: str, kind: Callable[[str], N], fits: Callable[[N], bool], expected: str) -> N:
    with contextlib.suppress(ValueError):
        value = kind(text)
        if fits(value):
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
