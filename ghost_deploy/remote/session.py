"""One board for the time of a command: connected, locked, and reconnected when the line breaks."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from ghost_deploy.core.errors import BoardError, LineError
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.answers import decoded_answer, wrong_answer
from ghost_deploy.remote.board import Board
from ghost_deploy.remote.line import Line, board_source
from ghost_deploy.remote.line_call import BoardAnswer, Said, silent
from ghost_deploy.remote.transfer import Transfer

T = TypeVar("T")

_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Before each new attempt to reach a board whose line broke."""
_LOCKED_S = 45.0
"""How long a broken line of ours may keep the board locked: until the board notices."""
_CLOCK_S = 120.0
_MOST_SOCKET = 90  # bytes of a path; the system's limit is 108, and ssh adds some

OURS = ("environments", "wheels", "bundles", "data", "out", "cache", "tmp", "lock")
"""What a board's folder holds; `clean` removes it."""


class BoardSession:
    """A board. Use `opened`.

    Attributes:
        address: of it.
        line: the connection.
        board: what it says about itself, when it was connected first.
        clock_offset_s: what must be added to its clock to get the one here.
    """

    def __init__(self, address: BoardAddress, folder: Path, say: Said) -> None:
        self.address = address
        self.line = Line(address, folder)
        self._say = say
        self._asker = f"{os.environ.get('USER', '')}@{socket.gethostname()}, process {os.getpid()} "
        self._asker += secrets.token_hex(3)
        self._stopped = threading.Event()
        self.board: Board
        self._folder = ""
        self.clock_offset_s = 0.0

    @property
    def name(self) -> str:
        """What messages call the board."""
        return self.address.name

    def stop(self) -> None:
        """End everything that runs there; also from another thread."""
        self._stopped.set()
        self.line.close()

    def say(self, text: str) -> None:
        """A message about the work on this board."""
        self._say(text)

    def connect(self) -> None:
        """Connect and lock the board's folder.

        Raises:
            LineError, UnavailableError: see `Line.open`.
            BoardError: another command uses the folder.
        """
        words = ["{python}", "-c", board_source("hold_lock"), self.address.folder, self._asker]
        until = time.monotonic() + _LOCKED_S
        while True:
            try:
                said = self.line.open(words)
                if not said.startswith("held "):
                    raise wrong_answer(self.name, "the name of its folder", said)
                self._folder = said.removeprefix("held ")
                return
            except BoardError as error:
                ours = isinstance(error.got, str) and self._asker in error.got
                if not ours or time.monotonic() > until or self._stopped.wait(1.0):
                    raise
                self.say("waiting until the board has noticed that the line broke")

    def read_facts(self) -> None:
        """Ask the board what it is.

        Raises:
            LineError, BoardError: it gives no answer.
        """
        before = time.time()
        answer = self.line.call_module("board_facts", self._folder)
        if answer.code:
            raise BoardError(
                f"{self.name} does not tell what it is",
                got=answer.messages[-300:],
                fix="Check that its Python works",
            )
        self.board = Board.read(answer.output, self.name)
        self.clock_offset_s = (before + time.time()) / 2 - self.board.time_s
        if abs(self.clock_offset_s) > _CLOCK_S:
            minutes = abs(self.clock_offset_s) / 60
            side = "behind" if self.clock_offset_s > 0 else "ahead"
            self.say(f"the clock of the board is {minutes:.0f} minutes {side}; times are corrected")

    @property
    def transfer(self) -> Transfer:
        """Files to and from it."""
        return Transfer(self.line, self.board)

    def over_line(self, action: Callable[[], T]) -> T:
        """Do something that may be repeated; after a break of the line connect and do it again.

        Raises:
            LineError: the line broke too often, or stays broken.
        """
        for pause in (*_PAUSES_S, None):
            try:
                if not self.line.is_open:
                    self.connect()
                return action()
            except LineError as error:
                if pause is None or self._stopped.is_set():
                    raise
                self.say(f"{error.what}; again in {pause:g} s")
                if self._stopped.wait(pause):
                    raise
                self.line.close()
        raise AssertionError("the last attempt raises or returns")

    def send(self, files: Mapping[str, Path], *place: str) -> str:
        """Send files to a folder below ours; its path there."""
        folder = self.board.path(*place)
        self.over_line(lambda: self.transfer.send(files, folder))
        return folder

    def fetch(self, folder: str, target: Path) -> None:
        """Fetch a folder of the board."""
        self.over_line(lambda: self.transfer.fetch(folder, target))

    def run(self, words: Sequence[str], *, cwd: str = "", said: Said = silent) -> BoardAnswer:
        """Run a command there, with caches and temporary files in our folder.

        Raises:
            LineError: the line broke; the command was ended. It is not repeated by itself.
        """
        environment = {
            "XDG_CACHE_HOME": self.board.path("cache"),
            "TMPDIR": self.board.path("tmp"),
            "PYTHONUTF8": "1",
            "PYTHONNOUSERSITE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
        }

        def shown(text: str) -> None:
            if not self._stopped.is_set():  # what a command says that was ended is no message
                said(text)

        return self.line.call(words, cwd=cwd, env=environment, said=shown)

    def make(self, *place: str) -> str:
        """Make a folder below ours; its path there."""
        folder = self.board.path(*place)
        answer = self.over_line(lambda: self.line.call_module("board_files", "make", folder))
        if answer.code:
            raise BoardError(
                f"{folder} cannot be made on {self.name}",
                got=answer.messages[-300:],
                fix="Name another folder: ssh://HOST/FOLDER",
            )
        return folder

    def read(self, *place: str) -> bytes:
        """The content of a small file below our folder; empty where it is not there."""
        folder, name = self.board.path(*place[:-1]), place[-1]
        return self.over_line(
            lambda: self.line.call_module("board_files", "read", folder, name)
        ).output

    def write(self, text: str, *place: str) -> None:
        """Write a small file below our folder, whole."""
        folder, name = self.board.path(*place[:-1]), place[-1]
        answer = self.over_line(
            lambda: self.line.call_module("board_files", "write", folder, name, text)
        )
        if answer.code:
            raise BoardError(
                f"{folder}/{name} cannot be written on {self.name}",
                got=answer.messages[-300:],
                fix="Free some space there",
            )

    def remove(self, *names: str) -> list[tuple[str, int]]:
        """Remove paths below our folder; those that were there, and their bytes.

        Raises:
            BoardError: something could not be removed.
        """
        folder = self.board.folder
        answer = self.over_line(
            lambda: self.line.call_module("board_files", "remove", folder, *names)
        )
        if answer.code:
            raise BoardError(
                f"{folder} on {self.name} cannot be removed",
                got=answer.messages[-300:],
                fix="Remove it there by hand",
            )
        return decoded_answer(
            self.name, "a list of what was removed", answer.output, list[tuple[str, int]]
        )


@contextlib.contextmanager
def opened(
    address: BoardAddress, say: Said, begun: Callable[[BoardSession], None] = lambda _: None
) -> Iterator[BoardSession]:
    """A session with a board for the time of the block.

    Args:
        address: of the board.
        say: takes messages about the work on it.
        begun: is given the session before it connects, so that it can be stopped from outside.

    Raises:
        LineError, UnavailableError, BoardError: it cannot be used.
    """
    with _socket_folder() as folder:
        session = BoardSession(address, folder, say)
        begun(session)
        try:
            session.connect()
            session.over_line(session.read_facts)
            if session.transfer.without_rsync:
                say(f"{session.transfer.without_rsync}: files go as an archive")
            yield session
        finally:
            session.line.close()


@contextlib.contextmanager
def _socket_folder() -> Iterator[Path]:
    """A private folder whose path leaves room for the name of a socket."""
    with scratch_folder() as folder:
        if len(os.fsencode(folder)) < _MOST_SOCKET:
            yield folder
            return
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ghost-deploy-") as short:
        yield Path(short)
