"""Keep a folder from filling the disk: a budget for our files, and room left for everybody."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from datetime import datetime, timedelta
from pathlib import Path

from ghost_deploy.core.errors import InputError

__all__ = ["Store", "dated_path"]

_STAMP = r"\d{8}T\d{6}\.\d{3}Z"
_LEAST_FREE = 500 << 20
_LEAST_FREE_SHARE = 0.02
_LOOK_EVERY_S = 1.0


def dated_path(folder: Path, stem: str, moment: datetime, suffix: str) -> Path:
    """`<stem>-20261122T094500.123Z<suffix>`, by a moment in UTC; later if that is taken."""
    while True:
        stamp = moment.strftime("%Y%m%dT%H%M%S.%f")[:-3]
        path = folder / f"{stem}-{stamp}Z{suffix}"
        if not path.exists():
            return path
        moment += timedelta(milliseconds=1)


class Store:
    """The files of one sink in a folder, named by `dated_path`; the oldest go first.

    Nothing but files of such names is ever removed. With or without a budget, nothing is to be
    added to a disk that is nearly full: less than 500 MiB free, or 2 % of a small disk.

    Args:
        folder: it must exist.
        suffix: of the files, with its dot.
        most_bytes: kept at most; None keeps all.
        stem: what the names begin with; anything when not given.
    """

    def __init__(
        self, folder: Path, suffix: str, most_bytes: int | None = None, *, stem: str = ""
    ) -> None:
        self.most_bytes = most_bytes
        self._folder = folder
        self._next_look = 0.0
        name = re.compile(f"{re.escape(stem) or '.+'}-{_STAMP}{re.escape(suffix)}")
        self._files: deque[tuple[Path, int]] = deque()
        if most_bytes is not None:
            found = (path for path in folder.iterdir() if name.fullmatch(path.name))
            facts = sorted((path.stat().st_mtime, path) for path in found if path.is_file())
            self._files.extend((path, path.stat().st_size) for _, path in facts)
        self._bytes = sum(size for _, size in self._files)

    def check_free(self) -> None:
        """Look, once a second, whether the disk has room.

        Raises:
            InputError: it is nearly full.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        try:
            disk = os.statvfs(self._folder)
        except OSError:
            return  # what is written next says it better
        free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        if free < min(_LEAST_FREE, whole * _LEAST_FREE_SHARE):
            raise InputError(
                f"the disk of {self._folder} is nearly full",
                got=f"{free >> 20} MiB free of {whole >> 20}: nothing is added",
                fix="Free some space, or limit what is kept with --keep",
            )
        self._next_look = now + _LOOK_EVERY_S

    def add(self, path: Path) -> None:
        """A file is complete and belongs to the store now."""
        if self.most_bytes is not None:
            with contextlib.suppress(FileNotFoundError):  # somebody has taken it away
                size = path.stat().st_size
                self._files.append((path, size))
                self._bytes += size

    def trim(self, besides: int = 0) -> None:
        """Remove the oldest files until what is left, and `besides` more bytes, fit."""
        while self.most_bytes is not None and self._files:
            if self._bytes + besides <= self.most_bytes:
                return
            path, size = self._files.popleft()
            self._bytes -= size
            with contextlib.suppress(OSError):
                path.unlink()
