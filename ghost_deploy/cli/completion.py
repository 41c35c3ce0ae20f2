"""`ghost-deploy completion`: a completion script for a shell, derived from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ghost_deploy.cli.console import Console

DESCRIPTION = "Print a completion script; load it in the start file of your shell."
EXAMPLES = """\
examples:
  eval "$(ghost-deploy completion bash)"              in ~/.bashrc
  ghost-deploy completion zsh > ~/.zfunc/_ghost-deploy   with ~/.zfunc in $fpath
  ghost-deploy completion tcsh | source /dev/stdin    in ~/.tcshrc
"""

SHELLS = ("bash", "zsh", "tcsh")

_FILE_METAVARS = frozenset({"BUNDLE", "CHECKPOINT", "FILE", "SOURCE", "DATA"})
_FOLDER_METAVARS = frozenset({"DIR"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell to complete in")


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the script."""
    import shtab

    from ghost_deploy.cli.main import COMMANDS, build_parser

    parser = build_parser(COMMANDS)
    for action in _actions(parser):
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if metavar in _FOLDER_METAVARS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif metavar in _FILE_METAVARS or "." in metavar:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    console.result(shtab.complete(parser, shell=args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
