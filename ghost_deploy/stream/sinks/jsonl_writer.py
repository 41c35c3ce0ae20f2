"""JSON lines: one a frame."""

from __future__ import annotations

import contextlib
import os
from io import FileIO
from pathlib import Path
from typing import IO, Any

import msgspec

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.sinks.sink import cannot_write

JSONL_SCHEMA = 1
"""Version of the form of a line that `JsonlWriter` writes."""
_BEGIN = b'{"schema":'
"""How each line begins, whatever its version."""


class JsonlWriter(Closing):
    """Writes one line of JSON a frame and flushes it at once.

    A line is `{"schema": 1, "source": ..., "index": ..., "size_hw": [h, w],
    "detections": [{"xyxy": [...], "score": ..., "class_id": ..., "class_name": ...}, ...]}`,
    boxes in source pixels. `size` is the length of the file, bytes.

    Args:
        target: a file, or an open text stream, which stays open.
        append: add to an existing file instead of replacing it. An unfinished last line, left by
            a killed process, is ended first, so that no other line is lost.

    Raises:
        UsageError: the target is a folder, or lines would be added to a file that holds something
            else, e.g. an image.
        InputError: the file cannot be written.
    """

    def __init__(self, target: Path | IO[str], *, append: bool = False) -> None:
        self._name = str(target) if isinstance(target, Path) else "the output stream"
        self._file: FileIO | None = None
        self._stream: IO[str] | None = None
        self.size = 0
        if not isinstance(target, Path):
            self._stream = target
            return
        if target.is_dir():
            raise UsageError(
                f"{target} is a folder, and JSON lines go to a file",
                fix=f"Name a file, e.g. {target / 'detections.jsonl'}, or - for standard output",
            )
        try:
            if append and target.is_file():
                _require_lines(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            self._file = FileIO(target, "a" if append else "w")
            if append and _ends_within_a_line(target):
                self._put(b"\n")
            self.size = target.stat().st_size if target.is_file() else 0
        except OSError as error:
            self.close()
            raise cannot_write(self._name, error) from error

    def write(self, frame: Frame, detections: Detections) -> None:
        """Append the line of one frame."""
        self.write_record(
            {
                # A file name that is not UTF-8 holds surrogates, which JSON cannot.
                "source": os.fsencode(frame.source).decode("utf-8", "replace"),
                "index": frame.index,
                "size_hw": frame.size_hw,
                "detections": detections.to_dicts(),
            }
        )

    def write_record(self, record: dict[str, Any]) -> None:
        """Append a line that holds `schema` and `record`."""
        line = msgspec.json.encode({"schema": JSONL_SCHEMA, **record}) + b"\n"
        try:
            self._put(line)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._name, error) from error

    def close(self) -> None:
        """Close the file; a stream that was passed in stays open."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _put(self, line: bytes) -> None:
        """Write a whole line or, where the system allows, nothing."""
        if self._file is None:
            assert self._stream is not None
            self._stream.write(line.decode())
            self._stream.flush()
            return
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            if len(rest) < len(line):
                with contextlib.suppress(OSError):  # a pipe cannot be truncated
                    self._file.truncate(self.size)
            raise
        self.size += len(line)


def _require_lines(path: Path) -> None:
    """Require that a file is empty or begins as lines do: anything else would be damaged."""
    with path.open("rb") as file:
        found = file.read(len(_BEGIN))
    if not _BEGIN.startswith(found[: len(_BEGIN)]):
        raise UsageError(
            f"{path} holds something else than results as JSON lines",
            got=f"a file that begins with {found.decode('utf-8', 'replace')!r}",
            expected="a new file, or one of an earlier run, to which lines are added",
            fix="Name another file",
        )


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"
