"""One command on a board, over a line: what goes there, what comes back, and how it ends."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from ghost_deploy.core.errors import BoardError, GhostDeployError, LineError, UnavailableError
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.answers import wrong_answer
from ghost_deploy.remote.local_process import start

NO_PYTHON = 97
"""Exit code of the first step on the board where there is no Python that is new enough."""

_MAX_OUTPUT = 256 << 20
_CHUNK = 1 << 16
_KEPT_LINES = 200
_MOST_LINE = 1 << 14  # bytes of a message; of a longer one its beginning is kept
_MOST_GREETING = 1 << 20  # what a shell prints before a command
_FIRST_S = 90.0  # for the connection, with its authentication, and the first line
_BEATS = 6  # signs of life in the time after which a silent line counts as broken
_END_S = 15.0  # longer than the board gives a command to end itself

Said = Callable[[str], None]
"""Called with each line that a command on the board prints on standard error."""


def silent(line: str) -> None:
    """For commands whose messages matter only if they fail."""


@dataclass(frozen=True)
class BoardAnswer:
    """What a command on a board returned.

    Attributes:
        code: its exit code; 128 + N where signal N ended it.
        output: its standard output.
        messages: the end of its standard error.
    """

    code: int
    output: bytes
    messages: str


class LineCall:
    """A command that `supervise` runs on a board.

    Args:
        address: of the board.
        words: that start SSH.
        mark: what encloses the command's output.
        opening: source and request, the first that goes over.
        said: takes its messages, line by line.
        silence_s: after so many seconds without a sign of life the board ends the command.
    """

    def __init__(
        self,
        address: BoardAddress,
        words: Sequence[str],
        mark: str,
        opening: bytes,
        said: Said,
        silence_s: float,
    ) -> None:
        self._address = address
        self._process = start(words)
        self._mark = mark.encode()
        self._said = said
        self._output = bytearray()
        self._has_no_end = False
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._news = threading.Condition()
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=run, args=args, daemon=True)
            for run, args in (
                (self._write, (opening, silence_s / _BEATS)),
                (self._read_output, ()),
                (self._read_messages, ()),
            )
        ]
        for thread in self._threads:
            thread.start()

    @property
    def runs(self) -> bool:
        """Whether SSH runs."""
        return self._process.poll() is None

    @property
    def noisy(self) -> bool:
        """Whether the shell there printed something before the command."""
        return bool(self._output.partition(b"\n" + self._mark + b"\n")[0].strip())

    def first_line(self) -> str:
        """Wait for the first line of the command's output, and return it.

        Raises:
            LineError, UnavailableError, BoardError: it ended without, or gave none in time.
        """
        until = time.monotonic() + _FIRST_S
        opening = b"\n" + self._mark + b"\n"
        with self._news:
            while self._threads[1].is_alive():
                line, ended, _ = self._output.partition(opening)[2].partition(b"\n")
                if ended and self._mark not in self._output.partition(opening)[2]:
                    return line.decode("utf-8", "surrogateescape")
                if len(self._output) > _MOST_GREETING:
                    got = bytes(self._output[:80])
                    raise wrong_answer(self._address.name, "the begin of a command", got)
                if time.monotonic() > until:
                    raise LineError(
                        f"{self._address.name} does not answer",
                        got=f"nothing for {_FIRST_S:.0f} s",
                        fix=f"Check that this works: ssh {self._address.host} true",
                    )
                self._news.wait(0.2)
        answer = self.wait()
        raise BoardError(
            f"{self._address.name} cannot be used",
            got=answer.messages or f"exit code {answer.code}",
            fix="Wait for the other command, or name another folder: ssh://HOST/FOLDER",
        )

    def wait(self) -> BoardAnswer:
        """Wait for the end of the command.

        Raises:
            LineError: there is no line, or it broke.
            UnavailableError: the board has no Python that is new enough.
            BoardError: it sends more than a command has to say, or not what it should.
        """
        for thread in self._threads[1:]:
            while thread.is_alive():
                thread.join(0.2)
        code = self._process.wait()
        self._ending.set()
        if self._has_no_end:  # no broken line: the same would come again
            raise BoardError(
                f"{self._address.name} sends output without an end",
                got=f"more than {_MAX_OUTPUT >> 20} MiB",
                fix="Check what runs there: it is not what was sent",
            )
        messages = "\n".join(self._lines)
        _, begun, rest = bytes(self._output).partition(b"\n" + self._mark + b"\n")
        if not begun:
            raise unreachable(self._address, code, messages)
        output, ended, tail = rest.rpartition(b"\n" + self._mark + b" ")
        if not ended:
            raise LineError(
                f"the line to {self._address.name} broke while a command ran there",
                got=messages[-400:] or None,
                fix="Run it again: what was sent stays there. The command on the board was ended",
            )
        code_text = tail.partition(b"\n")[0].strip()  # a shell may print something at its end
        if not (code_text.isdigit() and len(code_text) < 4):
            raise wrong_answer(self._address.name, "the exit code of a command", tail)
        return BoardAnswer(int(code_text), output, messages)

    def stop(self) -> None:
        """Let the board end the command, without waiting for it."""
        self._ending.set()

    def end(self) -> None:
        """End the command, if it runs, and SSH."""
        self._ending.set()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        if self.runs:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(1.0)
        _, *readers = self._threads
        for pipe, reader in zip((self._process.stdout, self._process.stderr), readers, strict=True):
            # Something else may hold it open, and closing waits for the reader.
            if pipe is not None and not reader.is_alive():
                pipe.close()

    def _write(self, opening: bytes, beat_s: float) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError, ValueError):
            pipe.write(opening)
            pipe.flush()
            while not self._ending.wait(beat_s):
                pipe.write(b"\n")
                pipe.flush()
        with contextlib.suppress(OSError, ValueError):
            pipe.close()  # the sign for the board that this end waits no more

    def _read_output(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        while data := pipe.read1(_CHUNK):  # type: ignore[attr-defined]
            with self._news:
                self._output += data
                self._news.notify_all()
            if len(self._output) > _MAX_OUTPUT:
                self._has_no_end = True
                self._process.kill()
                return

    def _read_messages(self) -> None:
        pipe = self._process.stderr
        assert pipe is not None
        begun = False  # before, they are those of SSH or of the shell
        for line in _short_lines(pipe):
            if line.encode() == self._mark:
                begun = True
                self._lines.clear()
                continue
            self._lines.append(line)
            if begun:
                self._say(line)

    def _say(self, line: str) -> None:
        try:
            self._said(line)
        except (OSError, ValueError):  # the output here was closed; the board goes on
            self._said = silent


def _short_lines(pipe: IO[bytes]) -> Iterator[str]:
    """The lines of messages, without more of one in memory than is shown of it."""
    behind = False  # of a line whose beginning was given already
    while raw := pipe.readline(_MOST_LINE):
        ended = raw.endswith(b"\n")
        if not behind:
            yield raw.decode("utf-8", "replace").rstrip("\r\n")
        behind = not ended


_SSH_SAYS = (
    ("Host key verification failed", "Its key is not known here: run `ssh {line}` once and accept "
     "it, or, if the board was set up anew, remove the old key: ssh-keygen -R {known}"),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "If the board was set up anew: "
     "ssh-keygen -R {known}, then run `ssh {line}` once"),
    ("Permission denied", "Give the board your key: ssh-copy-id {line}. Passwords are never asked "
     "for here; a key with a passphrase belongs into ssh-agent"),
    ("Could not resolve hostname", "Check the name of the board"),
    ("Connection refused", "Check that the board runs an SSH server on that port"),
)  # fmt: skip


def unreachable(address: BoardAddress, code: int, messages: str) -> GhostDeployError:
    """The error for a board on which no command could be begun.

    Args:
        address: of the board.
        code: exit code of SSH.
        messages: of SSH and of the shell there.
    """
    if code == NO_PYTHON:
        return UnavailableError(
            f"{address.name} has no Python that can be used",
            got=messages.strip().rpartition("\n")[2] or "none",
            expected="Python 3.10 or newer",
            fix="Install one there, e.g. apt-get install python3",
        )
    user = f"{address.user}@" if address.user else ""
    port = "" if address.port is None else f"-p {address.port} "
    line = f"{port}{user}{address.host}"
    # As known_hosts names it.
    known = address.host if address.port in (None, 22) else f"'[{address.host}]:{address.port}'"
    advice = f"Check that this works: ssh {line} true"
    for sign, fix in _SSH_SAYS:
        if sign in messages:
            advice = fix.format(line=line, known=known)
            break
    said = [each for each in messages.splitlines() if each.strip(" @")]
    return LineError(
        f"{address.name} cannot be reached",
        got="; ".join(said[-3:]) or f"exit code {code} of ssh",
        fix=advice,
    )
