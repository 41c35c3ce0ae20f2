"""A file that grows over a run and is there whole at its end, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import BinaryIO

from ghost_deploy.core.errors import ExportError, InputError
from ghost_deploy.core.files import write_whole
from ghost_deploy.stream.sinks.sink import cannot_write


class WholeFile:
    """Collects parts on disk, not in memory; a process that is killed leaves nothing of them.

    Args:
        target: the file that it becomes; its folder must exist.

    Raises:
        InputError: the system refuses.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self.parts = 0
        try:
            # Without a name: the system removes it with the process.
            self._file = tempfile.TemporaryFile(dir=target.parent)  # noqa: SIM115
        except OSError as error:
            raise cannot_write(str(target), error) from error

    def add(self, part: bytes, between: bytes = b"") -> None:
        """Append a part, with `between` before it if it is not the first.

        Raises:
            InputError: the system refuses.
        """
        try:
            self._file.write((between if self.parts else b"") + part)
        except OSError as error:
            raise cannot_write(str(self._target), error) from error
        self.parts += 1

    def finish(self, head: bytes = b"", tail: bytes = b"") -> None:
        """Write the file: `head`, the parts, `tail`.

        Raises:
            InputError: the system refuses; an older file is untouched.
        """

        def copy(out: BinaryIO) -> None:
            out.write(head)
            self._file.seek(0)
            shutil.copyfileobj(self._file, out)
            out.write(tail)

        try:
            write_whole(self._target, copy)
        except ExportError as error:
            raise InputError(error.what, got=error.got, fix=error.fix) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Drop the parts."""
        self._file.close()
