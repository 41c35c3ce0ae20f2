"""Atomic writing of files, and reading of small system files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ghost_deploy.core.errors import ExportError


def text_of(path: Path) -> str:
    """Return the text of a file, empty where it cannot be read, e.g. of `/proc` or `/sys`."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


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
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp creates a file that only the owner may read.
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise disk_error(target, error) from error


def disk_error(target: Path, error: OSError) -> ExportError:
    """The error for a file or folder that cannot be written and of which nothing is left."""
    return ExportError(
        f"cannot write {target}",
        got=error.strerror or str(error),
        fix="Free some space or choose a folder that you may write to; nothing was left behind",
    )
