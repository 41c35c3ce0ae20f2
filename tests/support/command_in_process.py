"""The command line in this process: its exit code, results and messages."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

from ghost_deploy.cli.main import main


@dataclass(frozen=True)
class CommandRun:
    """What a command gave back.

    Attributes:
        returncode: its exit code.
        stdout, stderr: results and messages.
    """

    returncode: int
    stdout: str
    stderr: str


def run_command(*words: str) -> CommandRun:
    """Run `ghost-deploy` with these words; a process of its own would import everything anew."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    return CommandRun(code, out.getvalue(), err.getvalue())
