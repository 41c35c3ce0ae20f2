"""Files to and from a board as a tar archive, where rsync cannot be used."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from ghost_deploy.core.errors import BoardError, LineError
from ghost_deploy.core.files import write_whole
from ghost_deploy.remote.line import Line

_BEGIN = b"ghost-deploy-archive\n"
_RECEIVED = b"received\n"


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
        said = process.output.read()
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
        for text in process.output:
            if text == _BEGIN:
                break
        # Of a broken archive the exit code and the messages say why.
        with contextlib.suppress(tarfile.ReadError, EOFError):
            _unpack(process.output, target, line.address.name)
        code, messages = process.finish()
    if code:
        raise _failed(line, code, messages)


def _unpack(stream: IO[bytes], target: Path, board: str) -> None:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
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
