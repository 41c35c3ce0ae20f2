"""Atomic writing of files, and bounded reading of files that others wrote."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ghost_deploy.core.errors import ExportError, UsageError
from ghost_deploy.core.leftovers import Temporary

MIB = 1 << 20
MAX_TEXT_BYTES = 64 * MIB
"""Limit for a text or a document that people write or that describes something."""
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def text_of(path: Path) -> str:
    """Return the text of a file, empty where it cannot be read, e.g. of `/proc` or `/sys`."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def open_regular(path: str | os.PathLike[str], most_bytes: int) -> BinaryIO:
    """Open a file that others may have put there, for reading.

    A named pipe would block the open for ever, a device such as `/dev/zero` never ends, and a
    sparse file claims any size; all three cost nothing to put into a bundle or a data set.

    Args:
        path: of a regular file, or of a link to one.
        most_bytes: the largest size that is accepted.

    Raises:
        OSError: it cannot be opened, is not a regular file, or is larger.
    """
    try:
        # Without O_NONBLOCK the open of a named pipe waits for a writer. Windows has neither flag.
        handle = os.open(path, os.O_RDONLY | _NONBLOCK | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error), os.fspath(path)) from error
    file = os.fdopen(handle, "rb")
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size <= most_bytes:
        return file
    file.close()
    if stat.S_ISREG(status.st_mode):
        what = f"{status.st_size} bytes, at most {most_bytes} are read"
        raise OSError(errno.EFBIG, what, os.fspath(path))
    raise OSError(errno.EINVAL, "not a regular file but a folder, pipe or device", os.fspath(path))


def read_regular(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """The content of a file that `open_regular` accepts.

    Raises:
        OSError: see `open_regular`.
    """
    with open_regular(path, most_bytes) as file:
        return file.read()


def is_regular(path: Path) -> bool:
    """Whether `path` is a regular file or a link to one; False for a name that cannot exist."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    # OSError: also a name longer than the file system takes. ValueError: a NUL in the name.
    except (OSError, ValueError):
        return False


def is_private(folder: Path) -> bool:
    """Whether the folder is this user's, and no one else may write to it."""
    try:
        found = folder.stat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return found.st_uid == os.getuid() and not found.st_mode & others


def permissions(most: int) -> int:
    """Those of a new file or folder: `most` without what the umask of the process takes away."""
    for line in text_of(Path("/proc/self/status")).splitlines():
        if line.startswith("Umask:"):
            return most & ~int(line.split()[1], 8)
    # Elsewhere it can only be asked by setting it, here to one that gives nothing away.
    umask = os.umask(0o077)
    os.umask(umask)
    return most & ~umask


def write_whole(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a temporary file beside `target` and rename it: no partial file is ever visible.

    Args:
        target: the file to create or replace; missing folders are created.
        write: writes the content to the open binary file.

    Raises:
        ExportError: the file cannot be written; an existing file is not changed.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(Temporary(target, folder=False)) as temporary:
            with os.fdopen(temporary.fileno(), "wb", closefd=False) as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            # A temporary file is created so that only the owner may read it.
            os.chmod(temporary.path, permissions(0o666))
            os.replace(temporary.path, target)
    except OSError as error:
        raise disk_error(target, error) from error


def refuse_existing(target: Path, *, overwrite: bool) -> None:
    """Raise UsageError if there is something at `target` and it may not be replaced."""
    if not overwrite and os.path.lexists(target):
        raise UsageError(
            f"{target} exists already",
            fix="Name another place, or pass --overwrite (overwrite=True in Python)",
        )


def disk_error(target: Path, error: OSError) -> ExportError:
    """The error for a file or folder that cannot be written and of which nothing is left."""
    return ExportError(
        f"cannot write {target}",
        got=error.strerror or str(error),
        fix="Free some space or choose a folder that you may write to; nothing was left behind",
    )
