"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ghost_deploy.core.errors import ExportError

__all__ = ["write_whole"]


def write_whole(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write beside `target` and rename, so that no half of a file is ever seen.

    Args:
        target: a file to make or replace; its folder is made.
        write: puts the content into the open file.

    Raises:
        ExportError: the disk refuses; an older file is untouched.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes a file for the owner alone.
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise ExportError(
            f"cannot write {target}",
            got=error.strerror or str(error),
            fix="Free some space or choose a folder that you may write to; nothing was left behind",
        ) from error
