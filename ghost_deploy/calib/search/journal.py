"""Measured values on disk, so that an interrupted search continues where it stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular


class _JournalLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    what: str
    value: float


class Journal:
    """An append-only file of JSON lines; one process writes it.

    Values of another `key` are not found: the key is part of each line's name. An incomplete last
    line is skipped.

    Args:
        path: of the file; its folder is created. None keeps the values in memory.
        key: names everything that the values depend on: the model, the images, the options.

    Raises:
        ExportError: the file cannot be read or written.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path, self._key = path, key
        self._values: dict[str, float] = {}
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                content = read_regular(path, MAX_TEXT_BYTES) if path.exists() else b""
            except OSError as error:
                raise _refused(path, error) from error
            self._values = dict(_readable(content.splitlines()))

    def get(self, *what: str) -> float | None:
        """The value of `what`; None if there is none."""
        return self._values.get(self._name(what))

    def note(self, value: float, *what: str) -> None:
        """Store the value of `what`."""
        name = self._name(what)
        self._values[name] = value
        if self._path is None:
            return
        line = msgspec.json.encode(_JournalLine(name, value)) + b"\n"
        try:
            with open(self._path, "ab") as file:
                if file.tell() and not _ends_a_line(self._path):
                    file.write(b"\n")
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _refused(self._path, error) from error

    def _name(self, what: Iterable[str]) -> str:
        text = msgspec.json.encode([self._key, *what])
        return hashlib.sha256(text).hexdigest()[:32]


def _ends_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _readable(lines: Iterable[bytes]) -> Iterable[tuple[str, float]]:
    for text in lines:
        try:
            line = msgspec.json.decode(text, type=_JournalLine)
        except msgspec.DecodeError:
            continue
        yield line.what, line.value


def _refused(path: Path, error: OSError) -> ExportError:
    return ExportError(
        f"cannot keep the measured values in {path}",
        got=error.strerror or str(error),
        fix="Choose a file that you may write to",
    )
