"""The parser of the command line: argparse, with errors that name what was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from ghost_deploy.core.lookup import near_name

_CHOICE = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)", re.DOTALL)


class WrongArgumentsError(Exception):
    """What the arguments of a command line say is not understood.

    Attributes:
        program: that they were given to, e.g. `ghost-deploy infer`.
        what: is wrong.
        hint: what was probably meant; may be empty.
        logs: the command has `--log-json`.
    """

    def __init__(self, parser: CommandParser, what: str, hint: str) -> None:
        super().__init__(what)
        self.program, self.what, self.hint = parser.prog, what, hint
        self.logs = "--log-json" in parser.flags

    @property
    def next_step(self) -> str:
        """What to do."""
        return f"`{self.program} --help` has all options"


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors end with a hint."""

    def error(self, message: str) -> NoReturn:
        """Raise `WrongArgumentsError`, with what was probably meant.

        Nothing is printed here: messages may have to be lines of a log. argparse's usage is not
        shown: the options of `infer` alone fill a screen, and hide the message.
        """
        from ghost_deploy.stream.sources.masking import mask

        message = mask(message)
        choice = _CHOICE.search(message)
        near = near_name(choice[1], re.findall(r"[^\s',]+", choice[2])) if choice else ""
        raise WrongArgumentsError(self, message, f"did you mean {near}?" if near else "")

    def refuse_unknown(
        self, unknown: Sequence[str], elsewhere: Iterable[tuple[str, CommandParser]]
    ) -> NoReturn:
        """Report arguments that this command does not take.

        Args:
            unknown: the arguments.
            elsewhere: the other commands and their parsers.
        """
        hints = [_hint(word, self, elsewhere) for word in unknown if word.startswith("--")]
        if not hints and any(Path(word).is_file() for word in unknown):
            hints = [
                "several files where one value is taken: the shell expanded a pattern; quote it, "
                "e.g. 'images/*.jpg', or name the folder"
            ]
        text = f"unrecognized arguments: {' '.join(unknown)}"
        self.error("\n".join([text, *filter(None, hints)]))

    @property
    def flags(self) -> list[str]:
        """All long options."""
        return [flag for flag in self._option_string_actions if flag.startswith("--")]


def commands_of(parser: argparse.ArgumentParser) -> dict[str, CommandParser]:
    """The parsers of the commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _hint(word: str, parser: CommandParser, elsewhere: Iterable[tuple[str, CommandParser]]) -> str:
    flag = word.partition("=")[0]
    owners = [name for name, other in elsewhere if flag in other.flags]
    if owners:
        return f"{flag} is an option of {', '.join(owners)}"
    near = near_name(flag, parser.flags)
    return f"did you mean {near}?" if near else ""
