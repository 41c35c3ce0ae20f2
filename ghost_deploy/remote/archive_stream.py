"""Files to and from a board as a tar archive, where rsync cannot be used."""

from __future__ import annotations

import functools
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from ghost_deploy.core.errors import BoardError, LineError
from ghost_deploy.core.files import write_whole
from ghost_deploy.remote.answers import wrong_answer
from ghost_deploy.remote.line import Line

if TYPE_CHECKING:
    from typing_extensions import Self

_BEGIN = b"ghost-deploy-archive\n"
_RECEIVED = b"received\n"
_MOST_GREETING = 1 << 20

MOST_FILES = 1_000_000
MOST_BYTES = 256 << 30
"""Limits of what comes back from one board; no run of its inputs writes as much."""


def send_archive(line: Line, files: Mapping[str, Path], folder: str) -> None:
    """Put files into a folder of the board.

    Args:
        line: open.
        files: the local files by their names there.
        folder: absolute path there.

    Raises:
        LineError: the line broke; the files that arrived whole are there.
        BoardError: the board refuses.
    """
    with line.stream_module("board_files", "receive", folder) as process:
        refused = ""
        try:
            with tarfile.open(
                fileobj=process.input, mode="w|", format=tarfile.PAX_FORMAT
            ) as archive:
                for name, path in files.items():
                    archive.add(path.resolve(), arcname=name, recursive=False)
        except OSError as error:
            refused = str(error)
        try:
            process.input.close()
        except OSError as error:
            refused = refused or str(error)
        said = process.output.read(_MOST_GREETING)
        code, messages = process.finish()
    if code or not said.endswith(_RECEIVED):
        raise _failed(line, code, messages or refused)


def fetch_archive(line: Line, folder: str, target: Path) -> None:
    """Copy all files of a folder of the board into a local one.

    Names that lead out of the folder, and everything that is no plain file, are refused.

    Raises:
        LineError, BoardError: as `send_archive`.
    """
    with line.stream_module("board_files", "send", folder) as process:
        _skip_greeting(process.output, line.address.name)
        broken = ""  # of a broken archive the exit code and the messages say why
        try:
            _unpack(process.output, target, line.address.name)
        except (tarfile.ReadError, EOFError) as error:
            broken = str(error) or "it ends early"
        code, messages = process.finish()
    if code:
        raise _failed(line, code, messages)
    if broken:
        raise wrong_answer(line.address.name, "an archive", broken)


def _skip_greeting(stream: IO[bytes], board: str) -> None:
    """Read over what a shell printed before the archive."""
    size = 0
    while text := stream.readline(_MOST_GREETING):
        size += len(text)
        if text == _BEGIN:
            return
        if size >= _MOST_GREETING:
            raise wrong_answer(board, "an archive", text[:80])


class _BoundedMember(tarfile.TarInfo):
    """A member whose name and attributes, which are read as a whole, have a limit."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """See `tarfile.TarInfo.frombuf`.

        Raises:
            tarfile.ReadError: they are larger.
        """
        found = super().frombuf(buf, encoding, errors)
        if not found.isreg() and found.size > _MOST_GREETING:
            raise tarfile.ReadError("a name or attributes of more than a MiB")
        return found


def _unpack(stream: IO[bytes], target: Path, board: str) -> None:
    size = 0
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_BoundedMember) as archive:
        for number, member in enumerate(archive):
            archive.members = []  # type: ignore[attr-defined]  # they would all stay in memory
            size += member.size
            if number >= MOST_FILES or size > MOST_BYTES:
                most = f"{MOST_FILES} files and {MOST_BYTES >> 30} GiB"
                raise wrong_answer(board, f"an archive of at most {most}", member.name)
            parts = PurePosixPath(member.name).parts
            if not member.isreg() or member.name.startswith("/") or ".." in parts:
                raise BoardError(
                    f"{board} sends what was not asked for",
                    got=member.name,
                    fix="Check the board; nothing outside the results was written",
                )
            source = archive.extractfile(member)
            assert source is not None
            write_whole(target.joinpath(*parts), functools.partial(shutil.copyfileobj, source))


def _failed(line: Line, code: int, messages: str) -> BoardError:
    name = line.address.name
    if code in (255, -9, -13) or "the line broke" in messages:
        return LineError(
            f"the line to {name} broke while files were copied",
            got=messages.strip()[-300:] or f"exit code {code} of ssh",
            fix="Run it again: what arrived whole is not sent again",
        )
    return BoardError(
        f"files cannot be copied to or from {name}",
        got=messages.strip()[-300:] or f"exit code {code}",
        fix="Check the free space and the permissions there, or name another folder: "
        "ssh://HOST/FOLDER",
    )
