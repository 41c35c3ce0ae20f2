"""What decoders print on standard error, which libjpeg does without the name of the file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from ghost_deploy.batch.memory_file import memory_file
from ghost_deploy.core.closing import Closing

_T = TypeVar("_T")
_MOST = 300


class DecoderRemarks(Closing):
    """Catches what C code of this process prints on standard error while it does one thing.

    It points the descriptor of standard error elsewhere for that time: for processes of ours alone,
    and one thread of them. The file that it points to is opened once: a million images need three
    calls of the system each, and no new file.
    """

    def __init__(self) -> None:
        self._kept, self._file = os.dup(2), memory_file("remarks")

    def caught(self, work: Callable[[], _T]) -> tuple[_T, str]:
        """What the work returns, and the first line of what was printed."""
        os.dup2(self._file, 2)
        try:
            result = work()
        finally:
            os.dup2(self._kept, 2)
        # Both descriptors have one position.
        if not os.lseek(self._file, 0, os.SEEK_CUR):
            return result, ""
        said = os.pread(self._file, _MOST, 0).decode("utf-8", "replace")
        os.lseek(self._file, 0, os.SEEK_SET)
        os.ftruncate(self._file, 0)
        return result, (said.strip().splitlines() or [""])[0]

    def close(self) -> None:
        """Close what was opened."""
        if self._file >= 0:
            os.close(self._file)
            os.close(self._kept)
        self._file = -1
