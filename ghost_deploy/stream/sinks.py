"""Where results go: JSON lines and annotated pictures."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.detections import Detections
from ghost_deploy.errors import InputError, UsageError
from ghost_deploy.frame import Frame
from ghost_deploy.stream.record import result_record
from ghost_deploy.stream.result import Result

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "JSONL_SCHEMA",
    "JsonlSink",
    "JsonlWriter",
    "PictureWriter",
    "cannot_write",
    "write_whole",
]

JSONL_SCHEMA = 1
"""Version of the form of a line that `JsonlWriter` writes."""

_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class JsonlWriter:
    """One line of JSON for each frame, written through at once, so that a pipe sees it.

    A line is `{"schema": 1, "source": ..., "index": ..., "size_hw": [h, w],
    "detections": [{"xyxy": [...], "score": ..., "class_id": ..., "class_name": ...}, ...]}`,
    boxes in source pixels. Use it as a context manager.

    Args:
        target: a file or an open text stream, which is left open at the end.
        append: add to a file that is there instead of replacing it. A last line that a killed
            process left unfinished is ended first, so that it stays the only one lost.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, target: Path | IO[str], *, append: bool = False) -> None:
        self._owned = isinstance(target, Path)
        self._name = str(target) if isinstance(target, Path) else "the output stream"
        if isinstance(target, Path):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                # Closed by `close`: the writer is itself the context manager.
                mode = "a" if append else "w"
                self._stream: IO[str] = open(target, mode, encoding="utf-8")  # noqa: SIM115
                if append and _ends_within_a_line(target):
                    self._stream.write("\n")
            except OSError as error:
                raise cannot_write(self._name, error) from error
        else:
            self._stream = target

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
        line = msgspec.json.encode({"schema": JSONL_SCHEMA, **record})
        try:
            self._stream.write(line.decode() + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise cannot_write(self._name, error) from error

    def close(self) -> None:
        """Close the file, if it is ours."""
        if self._owned:
            # What was written has been flushed; after a full disk, close would raise again.
            with contextlib.suppress(OSError):
                self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class PictureWriter:
    """Pictures into a folder, each under the name of its source and whole or not at all.

    Two sources of one name become `cell.jpg` and `cell-2.jpg`; pictures of an earlier run are
    replaced; a source is never overwritten. A format that OpenCV cannot write becomes JPEG.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(str(folder), error) from error

    def write(self, frame: Frame, picture: NDArray[np.uint8]) -> Path:
        """Write one picture and return its path.

        Args:
            frame: whose source gives the name.
            picture: (H, W, 3) uint8 BGR.

        Raises:
            UsageError: the picture would replace its source.
            InputError: the disk refuses; nothing is left of this picture.
        """
        source = Path(frame.source)
        target = self.folder / self._free_name(source)
        if target.exists() and source.exists() and target.samefile(source):
            raise UsageError(
                f"{target} would be overwritten by its annotated copy",
                fix="Choose an output folder that is not the folder of the images",
            )
        done, data = cv2.imencode(target.suffix, picture)
        if not done:
            raise InputError(
                f"OpenCV cannot encode {target.name}",
                got=f"a picture of {picture.shape[1]} x {picture.shape[0]} pixels",
                fix=f"Convert the source to another format than {target.suffix}",
            )
        write_whole(target, data.tobytes())
        return target

    def _free_name(self, source: Path) -> str:
        suffix = source.suffix if source.suffix.lower() in _SUFFIXES else ".jpg"
        stem = source.stem or "frame"
        name, count = f"{stem}{suffix}", 1
        # Compared without case: some file systems hold `A.jpg` and `a.jpg` to be one file.
        while name.casefold() in self._taken:
            count += 1
            name = f"{stem}-{count}{suffix}"
        self._taken.add(name.casefold())
        return name


class JsonlSink:
    """A `JsonlWriter` of live results: adds to a file that is there, so that a restart loses none.

    A line holds, besides what `JsonlWriter` says, `source_id` (short id of the source), `time`
    (of capture, ISO 8601 in UTC), `age_ms` (from capture to result) and `timings_ms`.

    Args:
        target: a file, or an open text stream, left open at the end.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, target: Path | IO[str]) -> None:
        self._lines = JsonlWriter(target, append=True)

    def write(self, result: Result) -> None:
        """Append the line of one result."""
        self._lines.write_record(result_record(result))

    def close(self) -> None:
        """Close the file, if it is ours."""
        self._lines.close()


def _ends_within_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if not size:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def write_whole(target: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all.

    Raises:
        InputError: the disk refuses.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".part-", suffix=target.suffix)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            # mkstemp makes a file for the owner alone; pictures are for everybody.
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as error:
        raise cannot_write(str(target), error) from error


def cannot_write(name: str, error: Exception) -> InputError:
    """The error of a file or folder that the system refuses."""
    return InputError(
        f"cannot write {name}",
        got=getattr(error, "strerror", None) or str(error),
        fix="Free some space or choose a place that you may write to",
    )
