"""The standard streams of a command, apart from what C code writes to them."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import IO


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
