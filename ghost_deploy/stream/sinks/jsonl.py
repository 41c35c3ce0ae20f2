"""Live results as JSON lines."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.image_results import JsonlWriter, cannot_write
from ghost_deploy.stream.sinks.record import result_record
from ghost_deploy.stream.sinks.retention import Store, dated_path

__all__ = ["JsonlSink"]

_PARTS = 4


class JsonlSink:
    """A `JsonlWriter` of live results: adds to a file that is there, so that a restart loses none.

    A line holds, besides what `JsonlWriter` says, `source_id` (short id of the source), `time`
    (of capture, ISO 8601 in UTC), `age_ms` (from capture to result) and `timings_ms`.

    Args:
        target: a file, or an open text stream, left open at the end.
        most_bytes: kept at most of a file: at a quarter of that it becomes
            `<name>-<time><suffix>`, a new one is begun, and the oldest are removed.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, target: Path | IO[str], *, most_bytes: int | None = None) -> None:
        self._lines = JsonlWriter(target, append=True)
        self._path = target if isinstance(target, Path) and target.is_file() else None
        self._store: Store | None = None
        if self._path:
            folder, stem = self._path.parent, self._path.stem
            self._store = Store(folder, self._path.suffix, most_bytes, stem=stem)

    def write(self, result: Result) -> None:
        """Append the line of one result."""
        if self._store:
            self._store.check_free()
            most = self._store.most_bytes
            if most is not None and self._lines.size >= most / _PARTS:
                self._begin_anew()
        self._lines.write_record(result_record(result))

    def close(self) -> None:
        """Close the file, if it is ours."""
        self._lines.close()

    def _begin_anew(self) -> None:
        path, store = self._path, self._store
        assert path
        assert store
        self._lines.close()
        full = dated_path(path.parent, path.stem, datetime.now(timezone.utc), path.suffix)
        try:
            os.replace(path, full)
        except OSError as error:
            raise cannot_write(str(full), error) from error
        finally:
            self._lines = JsonlWriter(path, append=True)
        store.add(full)
        store.trim(round((store.most_bytes or 0) / _PARTS))
