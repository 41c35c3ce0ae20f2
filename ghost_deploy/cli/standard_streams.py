"""The standard streams of a command, apart from what C code writes to them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO, Any, cast


def open_missing_descriptors() -> None:
    """Open the standard descriptors that the caller has closed, e.g. by `2>&-`, to nowhere.

    Otherwise the first files that are opened get them, and what C code prints goes into those.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


class Messages:
    """Standard error: what cannot be written there, as on a full disk, is lost and ends nothing.

    Not derived from `io.TextIOBase`, which has an encoding of its own, None: the rest is that of
    the stream.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def messages() -> Iterator[IO[str]]:
    """Standard error as `Messages`, for all of the process, while the block runs."""
    stream = cast("IO[str]", Messages(sys.stderr))
    with contextlib.redirect_stderr(stream):
        yield stream


@contextlib.contextmanager
def separated_output() -> Iterator[IO[str]]:
    """Reserve standard output for the caller; other prints go to standard error.

    Vendor libraries print from C++, so the file descriptor is moved, not only `sys.stdout`.
    """
    if sys.stdout is None:  # closed by the caller, `>&-`: results are discarded
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(sys.stderr):
            yield nowhere
        return
    stdout = sys.stdout
    stdout.flush()
    with contextlib.redirect_stdout(sys.stderr):
        if _descriptor(stdout) != 1:  # already replaced, e.g. by a test: C++ does not print there
            yield stdout
            return
        own = os.dup(1)
        # A class or file name that the terminal's encoding lacks must not end the run.
        out = os.fdopen(own, "w", encoding=stdout.encoding, errors="backslashreplace")
        os.dup2(2, 1)
        try:
            yield out
        finally:
            os.dup2(own, 1)
            # Flushed by the caller, which handles failures; here it would hide another.
            with contextlib.suppress(OSError):
                out.close()


def _descriptor(stream: IO[str]) -> int:
    try:
        return stream.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return -1


@contextlib.contextmanager
def with_own_descriptor(stream: IO[str]) -> Iterator[IO[str]]:
    """The file of `stream` under another descriptor, if it is a file.

    A progress bar is drawn by a thread, also while the descriptor of standard error catches what a
    decoder prints, see `processing.decoder_remarks`.
    """
    stream.flush()
    descriptor = _descriptor(stream)
    if descriptor < 0:
        yield stream
        return
    coding, errors = getattr(stream, "encoding", None), getattr(stream, "errors", None)
    with open(os.dup(descriptor), "w", encoding=coding, errors=errors) as own:
        yield own
