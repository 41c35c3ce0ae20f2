"""Limit what a sink keeps in a folder, and leave free space on the disk."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from datetime import datetime, timedelta
from pathlib import Path

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.sinks.sink import cannot_write

_STAMP = r"\d{8}T\d{6}\.\d{3}Z"
_LEAST_FREE = 500 << 20
_LEAST_FREE_SHARE = 0.02
_LOOK_EVERY_S = 1.0


def dated_path(folder: Path, stem: str, moment: datetime, suffix: str) -> Path:
    """The path `<stem>-20261122T094500.123Z<suffix>` of a moment in UTC; later if that exists."""
    while True:
        stamp = moment.strftime("%Y%m%dT%H%M%S.%f")[:-3]
        path = folder / f"{stem}-{stamp}Z{suffix}"
        if not path.exists():
            return path
        moment += timedelta(milliseconds=1)


class FileStore:
    """The files of one sink in a folder, named by `dated_path`; the oldest are removed first.

    Only files of such names are ever removed. With or without a limit, a disk counts as full when
    less than 500 MiB, or 2 % of a small disk, are free.

    Args:
        folder: made if it does not exist.
        suffix: of the files, with its dot.
        most_bytes: kept at most; all when None.
        stem: the beginning of the names; any when empty.

    Raises:
        InputError: the folder cannot be made or read.
    """

    def __init__(
        self, folder: Path, suffix: str, most_bytes: int | None = None, *, stem: str = ""
    ) -> None:
        self.most_bytes = most_bytes
        self._folder = folder
        self._next_look = 0.0
        name = re.compile(f"{re.escape(stem) or '.+'}-{_STAMP}{re.escape(suffix)}")
        self._files: deque[tuple[Path, int]] = deque()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if most_bytes is not None:
                found = (path for path in folder.iterdir() if name.fullmatch(path.name))
                facts = sorted((path.stat().st_mtime, path) for path in found if path.is_file())
                self._files.extend((path, path.stat().st_size) for _, path in facts)
        except OSError as error:
            raise cannot_write(str(folder), error) from error
        self._bytes = sum(size for _, size in self._files)

    def check_free(self) -> None:
        """Check, once a second, that the disk has space.

        Raises:
            InputError: it is nearly full.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return  # the write that follows reports it better
        free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        if free < min(_LEAST_FREE, whole * _LEAST_FREE_SHARE):
            raise InputError(
                f"the disk of {self._folder} is nearly full",
                got=f"{free >> 20} MiB free of {whole >> 20}: nothing is written",
                fix="Free some space, or limit what is kept with --keep",
            )
        self._next_look = now + _LOOK_EVERY_S

    def add(self, path: Path) -> None:
        """Take a complete file into the store."""
        if self.most_bytes is not None:
            with contextlib.suppress(FileNotFoundError):  # it was removed by others
                size = path.stat().st_size
                self._files.append((path, size))
                self._bytes += size

    def trim(self, besides: int = 0) -> None:
        """Remove the oldest files until the rest and `besides` more bytes fit the limit."""
        while self.most_bytes is not None and self._files:
            if self._bytes + besides <= self.most_bytes:
                return
            path, size = self._files.popleft()
            self._bytes -= size
            with contextlib.suppress(OSError):
                path.unlink()
