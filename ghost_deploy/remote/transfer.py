"""Files to and from a board: by rsync, which goes on where a broken line ended.

Where rsync is missing, or the shell there prints text that rsync would take for its own, files
travel as a tar archive; what arrived whole before a line broke is not sent again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ghost_deploy.core.bundle import sha256_of
from ghost_deploy.core.errors import BoardError, LineError
from ghost_deploy.core.files import MIB
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.remote.answers import decoded_answer
from ghost_deploy.remote.archive_stream import fetch_archive, send_archive
from ghost_deploy.remote.board import Board
from ghost_deploy.remote.line import Line

_RESERVE = 16 * MIB
_SILENCE_S = 60
_PART = ".ghost-deploy-part"
# Exit codes of rsync for a line that broke: errors in socket, protocol, timeouts, and that of ssh.
_BROKEN = frozenset({5, 10, 12, 20, 30, 35, 255, -9, -15})
_NO_SPACE = "No space left on device"


class _Room(msgspec.Struct):
    """Bytes that are free, and of what is there."""

    free: int
    there: int


@dataclass(frozen=True)
class Transfer:
    """Sends and fetches files over a line.

    Attributes:
        line: open.
        board: at its other end.
    """

    line: Line
    board: Board

    @property
    def without_rsync(self) -> str:
        """Why rsync is not used; empty where it is."""
        if shutil.which("rsync") is None:
            return "rsync is not installed here"
        if not self.board.rsync:
            return f"rsync is not installed on {self.line.address.name}"
        if self.line.noisy:
            return f"the shell on {self.line.address.name} prints text before each command"
        return ""

    def send(self, files: Mapping[str, Path], folder: str) -> None:
        """Make a folder of the board hold these files and no others.

        Args:
            files: the local files by their names there, relative to the folder.
            folder: absolute path there.

        Raises:
            LineError: the line broke; calling it again goes on.
            BoardError: the board lacks space, or refuses.
        """
        self._require_space(files, folder)
        if self.without_rsync:
            self._send_archive(files, folder)
            return
        with scratch_folder() as scratch:
            _link_all(files, scratch)
            checked = "--checksum" if sum(map(_size, files.values())) < 1 << 30 else "--times"
            self._rsync(["-L", "--delete", checked, f"{scratch}/", self._place(folder)])

    def fetch(self, folder: str, target: Path) -> None:
        """Copy all files of a folder of the board into a local one.

        Raises:
            LineError, BoardError: as `send`.
        """
        target.mkdir(parents=True, exist_ok=True)
        if self.without_rsync:
            fetch_archive(self.line, folder, target)
        else:
            self._rsync(["--no-links", "--no-devices", "--no-specials",
                         self._place(folder), f"{target}/"])  # fmt: skip

    def _place(self, folder: str) -> str:
        host = self.line.address.host
        return f"[{host}]:{folder}/" if ":" in host else f"{host}:{folder}/"

    def _require_space(self, files: Mapping[str, Path], folder: str) -> None:
        answer = self.line.call_module("board_files", "make", folder)
        if answer.code:
            raise self._refused(answer.messages)
        name = self.line.address.name
        found = decoded_answer(name, "the size of a folder", answer.output, _Room)
        needed = sum(map(_size, files.values())) - found.there + _RESERVE
        if found.free < needed:
            raise no_space(name, folder, f"{found.free >> 20} MiB", f"{needed >> 20} MiB")

    def _rsync(self, words: Sequence[str]) -> None:
        shell = " ".join(_rsync_word(word) for word in self.line.ssh_words())
        command = [
            "rsync", "-rt", "-s", "-e", shell, "--partial", f"--partial-dir={_PART}",
            f"--timeout={_SILENCE_S}", *words,
        ]  # fmt: skip
        code, messages = self.line.watch(command)
        if code == 0:
            return
        if _NO_SPACE in messages or code not in _BROKEN:
            raise self._refused(messages)
        raise LineError(
            f"the line to {self.line.address.name} broke while files were copied",
            got=messages.strip()[-300:] or f"exit code {code} of rsync",
            fix="Run it again: it goes on where it ended",
        )

    def _refused(self, messages: str) -> BoardError:
        name = self.line.address.name
        if _NO_SPACE in messages:
            return no_space(name, self.board.folder, "a full disk", None)
        return BoardError(
            f"files cannot be copied to or from {name}",
            got=messages.strip()[-300:],
            fix=f"Check {self.board.folder} there, or name another folder: ssh://HOST/FOLDER",
        )

    def _send_archive(self, files: Mapping[str, Path], folder: str) -> None:
        answer = self.line.call_module("board_files", "list", folder)
        if answer.code:
            raise self._refused(answer.messages)
        name = self.line.address.name
        there = decoded_answer(name, "a list of files", answer.output, dict[str, str])
        extra = sorted(set(there) - set(files))
        if extra:
            self.line.call_module("board_files", "remove", folder, *extra)
            self.line.call_module("board_files", "make", folder)
        missing = {n: p for n, p in files.items() if there.get(n) != sha256_of(p)}
        if not missing:
            return
        send_archive(self.line, missing, folder)


def no_space(name: str, folder: str, got: str, expected: str | None) -> BoardError:
    """The error for a board whose disk is too small."""
    return BoardError(
        f"{name} has too little free space in {folder}",
        got=got,
        expected=expected,
        fix="Free some, remove what an earlier command left (--clean), or name another folder: "
        "ssh://HOST/FOLDER",
    )


def _size(path: Path) -> int:
    return path.stat().st_size


def _link_all(files: Mapping[str, Path], folder: Path) -> None:
    for name, path in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(path.resolve(), place)


def _rsync_word(word: str) -> str:
    """A word of `rsync -e`, which knows quotes that are doubled inside quotes, no backslashes."""
    doubled = word.replace('"', '""')
    return f'"{doubled}"'
