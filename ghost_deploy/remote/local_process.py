"""A program here that works over a line: rsync, or SSH with open pipes."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Sequence
from typing import IO

_MOST_MESSAGES = 1 << 16


def start(words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a program with pipes, in a session of its own.

    Ctrl-C at the terminal then reaches this process alone, which ends everything in order.
    """
    return subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


class LocalProcess:
    """A started program whose messages are collected.

    Attributes:
        input, output: its standard input and output.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._process = start(words)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.input: IO[bytes] = self._process.stdin
        self.output: IO[bytes] = self._process.stdout
        self._messages = bytearray()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def finish(self) -> tuple[int, str]:
        """Wait for its end; exit code and messages."""
        with contextlib.suppress(OSError):
            self.input.close()
        code = self._process.wait()
        self._reader.join()
        return code, self._messages.decode("utf-8", "replace")

    def stop(self) -> None:
        """End it, without waiting for it."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def end(self) -> None:
        """End it, and close its pipes."""
        self.stop()
        self._process.wait()
        self._reader.join(1.0)
        for pipe in (self.input, self.output):
            with contextlib.suppress(OSError):
                pipe.close()
        # Something else may hold it open, and closing waits for the reader.
        if self._process.stderr is not None and not self._reader.is_alive():
            self._process.stderr.close()

    def _read(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            while data := self._process.stderr.read1(_MOST_MESSAGES):  # type: ignore[attr-defined]
                self._messages += data[: _MOST_MESSAGES - len(self._messages)]
