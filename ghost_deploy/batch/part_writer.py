"""Writes parts while the next images are detected: a disk takes milliseconds to keep one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from ghost_deploy.batch.part_files import PartFiles
from ghost_deploy.core.closing import Closing


class PartWriter(Closing):
    """A thread that writes parts, one after another, at most one behind.

    What went wrong with a part is raised by the next call.

    Args:
        parts: where they are written.
    """

    def __init__(self, parts: PartFiles) -> None:
        self._parts = parts
        self._pool = ThreadPoolExecutor(1, "parts")
        self._last: Future[Any] | None = None

    def write(self, name: str, table: Any, facts: dict[str, str] | None = None) -> None:
        """Write a part, when the one before is written; arguments as of `PartFiles.write_part`.

        Raises:
            StoreError: the one before could not be written.
        """
        self.wait()
        self._last = self._pool.submit(self._parts.write_part, name, table, facts)

    def then(self, call: Callable[[], None]) -> Future[None]:
        """Make a call when all so far is written, in the thread that writes.

        Returns:
            What ends when the call has, with the error of what was written where it failed.
        """
        last = self._last

        def after() -> None:
            if last is not None:
                last.result()
            call()

        self._last = future = self._pool.submit(after)
        return future

    def wait(self) -> None:
        """Wait until all is written.

        Raises:
            StoreError: it could not be.
        """
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """Wait until what was begun is written, and end the thread."""
        self._pool.shutdown()
