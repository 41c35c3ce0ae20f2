"""What decoders print on standard error, which libjpeg does without the name of the file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.memory_file import memory_file

_T = TypeVar("_T")
_MOST = 300


class DecoderRemarks(Closing):
    """Catches what C code of this process prints on standard error while it does one thing.

    It points the descriptor of standard error elsewhere for that time: for processes of ours alone,
    and one thread of them. The file that it points to is opened once: a million images need three
    calls of the system each, and no new file.

    Raises:
        OSError: standard error is closed.
    """

    def __init__(self) -> None:
        self._kept, self._file = os.dup(2), memory_file("remarks")

    def caught(self, work: Callable[[], _T]) -> tuple[_T, str]:
        """What the work returns, and the first line of what was printed."""
        os.dup2(self._file, 2)
        try:
            result = work()
        except BaseException:
            self._restore()  # an error says itself what is wrong
            raise
        return result, self._restore()

    def _restore(self) -> str:
        """Let standard error be what it was; the first line of what was printed."""
        os.dup2(self._kept, 2)
        # Both descriptors have one position.
        if not os.lseek(self._file, 0, os.SEEK_CUR):
            return ""
        said = os.pread(self._file, _MOST, 0).decode("utf-8", "replace")
        os.lseek(self._file, 0, os.SEEK_SET)
        os.ftruncate(self._file, 0)
        return (said.strip().splitlines() or [""])[0]

    def close(self) -> None:
        """Close what was opened."""
        if self._file >= 0:
            os.close(self._file)
            os.close(self._kept)
        self._file = -1


_Tell = Callable[[str], None]
_here: ContextVar[tuple[DecoderRemarks, _Tell] | None] = ContextVar("remarks", default=None)


@contextlib.contextmanager
def named_remarks(tell: _Tell) -> Iterator[None]:
    """Name the file of each remark on an image that this thread reads in the block.

    For processes of ours alone, in which no other thread prints meanwhile.

    Args:
        tell: receives `FILE: REMARK`. The remarks on files that cannot be read are left out.
    """
    try:
        remarks = DecoderRemarks()
    except OSError:  # standard error is closed
        yield
        return
    with remarks:
        token = _here.set((remarks, tell))
        try:
            yield
        finally:
            _here.reset(token)


def decoded(name: str, work: Callable[[], _T]) -> _T:
    """The result of `work`, which decodes the image file `name`; see `named_remarks`."""
    if (here := _here.get()) is None:
        return work()
    remarks, tell = here
    result, said = remarks.caught(work)
    if said:
        tell(f"{name}: {said}")
    return result
