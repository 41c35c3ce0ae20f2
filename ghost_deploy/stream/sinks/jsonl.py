"""Live results as JSON lines."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.jsonl_writer import JsonlWriter
from ghost_deploy.stream.sinks.record import result_record
from ghost_deploy.stream.sinks.retention import FileStore, dated_path
from ghost_deploy.stream.sinks.sink import Sink, cannot_write

_PARTS = 4


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is a file, or `-` for standard output."""
    to = context.out if target == "-" else Path(target)
    return JsonlSink(to, most_bytes=context.most_bytes)


class JsonlSink(Sink):
    """Writes live results as JSON lines; an existing file is appended to.

    Besides the fields of `JsonlWriter` a line has `source_id` (short id of the source), `frame` and
    `position_s` (number and time in the video, see `result_record`), `time` (of capture, ISO 8601
    in UTC), `age_ms` (from capture to result) and `timings_ms`.

    Args:
        target: a file, or an open text stream, which stays open.
        most_bytes: kept at most, all when None: at a quarter of that the file is renamed to
            `<name>-<time><suffix>` and a new one begun, and the oldest are removed.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, target: Path | IO[str], *, most_bytes: int | None = None) -> None:
        self._lines = JsonlWriter(target, append=True)
        self._path = target if isinstance(target, Path) and target.is_file() else None
        self._store: FileStore | None = None
        if self._path:
            folder, stem = self._path.parent, self._path.stem
            self._store = FileStore(folder, self._path.suffix, most_bytes, stem=stem)

    def write(self, result: Result) -> None:
        """Append the line of one result."""
        if self._store:
            self._store.check_free()
            most = self._store.most_bytes
            if most is not None and self._lines.size >= most / _PARTS:
                self._rotate()
        self._lines.write_record(result_record(result))

    def close(self) -> None:
        """Close the file; a stream that was passed in stays open."""
        self._lines.close()

    def _rotate(self) -> None:
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
