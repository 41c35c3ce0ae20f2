"""The command `ghost-deploy`: its table of commands, exit codes and error output.

Only the module of the chosen command is imported, so that `--help` loads no other module.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Collection, Sequence
from typing import NoReturn, Protocol, cast

from ghost_deploy._version import __version__
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.leave import leave
from ghost_deploy.cli.options import refuse_without_boards
from ghost_deploy.cli.parser import CommandParser, WrongArgumentsError, commands_of
from ghost_deploy.cli.signals import Terminated, termination_as_exception
from ghost_deploy.cli.standard_streams import (
    messages,
    open_missing_descriptors,
    separated_output,
)
from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.core.pixel_limit import pixel_limit
from ghost_deploy.core.trusted_signers import trusting

COMMANDS = {
    "inspect": "show what a checkpoint or a bundle holds, without running it",
    "export": "make a bundle of a checkpoint, and prove it",
    "build": "make TensorRT engines of a bundle, on the device",
    "sign": "sign a bundle, or what a device added to it",
    "calibrate": "add int8 artifacts to a bundle",
    "parity": "compare a bundle with its checkpoint, number by number",
    "validate": "measure the accuracy of a bundle on labelled images",
    "bench": "measure the latency of bundles, side by side",
    "compare": "measure a new model against an old one",
    "check": "check a bundle on the machine that runs it",
    "infer": "detect objects in images",
    "batch": "detect objects in an archive, on this machine or a cluster",
    "report": "render results as one page, with a verdict",
    "doctor": "show what this machine can run, and what would add the rest",
    "demo": "run all steps on the built-in detector",
    "completion": "print a completion script for a shell",
}
"""Command name to its one line of help. `ghost_deploy.cli.NAME` is its module."""

EXIT_CODES = """\
exit codes:
  0    done
  1    a gate failed: parity or accuracy is outside its tolerance
  2    wrong use, bad input, output that could not be written, or an unexpected failure
  3    something asked for is not on this machine
  129  the terminal was closed (SIGHUP)
  130  interrupted (SIGINT, Ctrl-C)
  143  terminated (SIGTERM)

Results go to standard output, progress and messages to standard error.
"""

_EXAMPLES = """\
examples:
  ghost-deploy inspect best.pt
  ghost-deploy export best.pt -o out/best --images images
  ghost-deploy parity best.pt out/best --images images
  ghost-deploy infer out/best images -o annotated

"""

_FAILED, _INTERRUPTED, _SIGNALED = 2, 130, 128
_GARBAGE = 20_000  # objects between two collections; Python 3.11 has 700


class CommandModule(Protocol):
    """What a module in `ghost_deploy.cli` that is a command has."""

    DESCRIPTION: str
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, args: argparse.Namespace, console: Console) -> int:
        """Run the command and return its exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `ghost-deploy` with `argv`, the process's arguments by default; the exit code."""
    if argv is None:
        open_missing_descriptors()
        # This process is the command's own. Without OpenVINO's model converter, which no command
        # uses, it starts 0.1 s sooner.
        sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]
        # NumPy and OpenCV each start threads of OpenBLAS when they are imported, which takes 20 to
        # 45 ms; no command multiplies matrices that are worth them.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        # What is imported stays: looking for garbage in it takes 10 ms of a short command.
        gc.set_threshold(_GARBAGE)
    words = sys.argv[1:] if argv is None else list(argv)
    with termination_as_exception(), messages() as err, separated_output() as out:
        console = Console(out, err)
        return _guarded(words, console)


def command() -> NoReturn:
    """Run `ghost-deploy` with the arguments of the process, and end it."""
    leave(main())


def build_parser(chosen: Collection[str]) -> CommandParser:
    """The parser, with the arguments of the `chosen` commands; the others have only their line."""
    parser = CommandParser(
        prog="ghost-deploy",
        description="Edge deployment for Ghost-YOLO detectors.",
        epilog=_EXAMPLES + EXIT_CODES,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ghost-deploy {__version__}")
    _add_debug(parser, default=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        if name not in chosen:
            commands.add_parser(name, help=line)
            continue
        module = _module(name)
        command = commands.add_parser(
            name,
            help=line,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES + "\n" + EXIT_CODES,
            formatter_class=_formatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        _add_debug(command, default=argparse.SUPPRESS)
    return parser


def _guarded(words: list[str], console: Console) -> int:
    debug = "--debug" in words
    try:
        try:
            code = _run(words, console)
        except WrongArgumentsError as error:
            _say_wrong(error, console, as_json=error.logs and "--log-json" in words)
            code = _FAILED
        except SystemExit as stop:  # argparse, after --help
            code = stop.code if isinstance(stop.code, int) else _FAILED
        console.out.flush()
        return code
    except KeyboardInterrupt as stop:
        return _stopped(stop, console)
    except BrokenPipeError:
        # The reader has gone, e.g. `| head`: no message, but no success either.
        return _FAILED
    except Exception as error:  # the last boundary: a traceback is shown with --debug only
        if debug:
            console.traceback()
        if cause := _interruption(error):
            return _stopped(cause, console)
        if isinstance(error, GhostDeployError):
            console.error(error)
            return error.exit_code
        if isinstance(error, OSError):  # mostly a standard output that cannot be written to
            console.error(_refused(error))
        else:
            console.unexpected(error)
        return _FAILED


def _say_wrong(error: WrongArgumentsError, console: Console, *, as_json: bool) -> None:
    if as_json:
        from ghost_deploy.cli.log_lines import LogLines

        hint = f"{error.hint}; {error.next_step}" if error.hint else error.next_step
        LogLines(console.err, as_json=True).error(GhostDeployError(error.what, fix=hint))
        return
    said = f"{error.program}: error: {error.what}"
    print("\n".join(filter(None, (said, error.hint, error.next_step))), file=console.err)


def _stopped(stop: KeyboardInterrupt, console: Console) -> int:
    if not isinstance(stop, Terminated):
        console.note("interrupted")
        return _INTERRUPTED
    console.note("terminated")
    return _SIGNALED + stop.number


def _interruption(error: BaseException) -> KeyboardInterrupt | None:
    """The signal that an error stands for: a compiled module makes an ImportError of one that comes
    while it is imported.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__
    return cause


def _refused(error: OSError) -> GhostDeployError:
    return GhostDeployError(
        "the operating system refuses",
        got=str(error),
        fix="Check free space and permissions; --debug shows where it happened",
    )


def _run(words: list[str], console: Console) -> int:
    # The first word that is a command is the command: no option before it takes a value.
    name = next((word for word in words if word in COMMANDS), None)
    with contextlib.redirect_stdout(console.out):
        # Help and version are results.
        args = _parse(words, name)
    limit, signers = getattr(args, "max_pixels", None), getattr(args, "trust", None)
    with pixel_limit(limit), trusting(signers):
        if getattr(args, "log_json", False) or getattr(args, "log_level", None):
            from ghost_deploy.cli.log_lines import log_of

            console.log = log_of(args, console.err)
        if getattr(args, "on", None):
            from ghost_deploy.cli.on_boards import run_on_boards

            parser = commands_of(build_parser({args.command}))[args.command]
            return run_on_boards(args, parser, words[words.index(args.command) + 1 :], console)
        refuse_without_boards(args)
        return _module(args.command).run(args, console)


def _parse(words: list[str], name: str | None) -> argparse.Namespace:
    parser = build_parser({name} if name else ())
    args, unknown = parser.parse_known_args(words)
    if unknown:
        others = commands_of(build_parser(COMMANDS))
        others.pop(args.command).refuse_unknown(unknown, others.items())
    return args


def _module(name: str) -> CommandModule:
    return cast("CommandModule", importlib.import_module(f"ghost_deploy.cli.{name}"))


def _formatter(prog: str) -> argparse.HelpFormatter:
    formatter = argparse.RawDescriptionHelpFormatter(prog, max_help_position=28)
    # argparse forgets the indent of the list of commands and would break its longest line.
    formatter._action_max_length = max(map(len, COMMANDS)) + 4
    return formatter


def _add_debug(parser: argparse.ArgumentParser, *, default: object) -> None:
    parser.add_argument(
        "--debug", action="store_true", default=default, help="show the traceback of an error"
    )


if __name__ == "__main__":
    command()
