"""Notes on the disk of a machine, by which a worker learns where others have ended.

An engine that starts a dead worker again and gives it the same task would do so for ever where a
source ends every process that reads it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ghost_deploy.batch.work_tasks import Task

_MOST_DEATHS = 3


class DeathMarks:
    """Where the tasks of one run ended their workers on this machine.

    Args:
        token: of the run.
    """

    def __init__(self, token: str) -> None:
        self._folder = Path(tempfile.gettempdir()) / f"ghost-deploy-{os.getuid()}-{token}"
        self._file: int | None = None
        self._length = 0

    def step(self, source: str, share: float) -> None:
        """A source is about to be read."""
        if self._file is not None:
            # What is left of a longer name is overwritten: to cut a file off costs more.
            data = source.encode()
            self._length = max(self._length, len(data))
            os.pwrite(self._file, data.ljust(self._length, b"\0"), 0)

    @contextlib.contextmanager
    def watched(self, task: Task) -> Iterator[Task]:
        """The task with the sources that ended several workers; inside, deaths are noted."""
        name = hashlib.sha256(task.name.encode()).hexdigest()[:20]
        at, deaths = self._folder / f"{name}.at", self._folder / f"{name}.json"
        counts = _counted(at, deaths)
        fatal = frozenset(source for source, count in counts.items() if count >= _MOST_DEATHS)
        self._file, self._length = self._open(at), at.stat().st_size
        try:
            yield dataclasses.replace(task, fatal=task.fatal | fatal) if fatal else task
        finally:
            os.close(self._file)
            self._file = None
            for path in (at, deaths):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others are at work
                self._folder.rmdir()

    def _open(self, path: Path) -> int:
        while True:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another worker removed the folder
                return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _counted(at: Path, deaths: Path) -> dict[str, int]:
    """The deaths of the task by source, with the one that `at` tells of."""
    try:
        counts: dict[str, int] = json.loads(deaths.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        counts = {}
    with contextlib.suppress(OSError):
        source = at.read_text(encoding="utf-8", errors="replace").rstrip("\0")
        if source:
            counts[source] = counts.get(source, 0) + 1
            deaths.write_text(json.dumps(counts), encoding="utf-8")
    return counts
