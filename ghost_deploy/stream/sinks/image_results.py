"""Where results go: JSON lines and annotated pictures."""

from __future__ import annotations

import contextlib
import os
import tempfile
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.frame import Frame

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "JSONL_SCHEMA",
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
    boxes in source pixels. `size` is the length of the file, bytes. Use it as a context manager.

    Args:
        target: a file or an open text stream, which is left open at the end.
        append: add to a file that is there instead of replacing it. A last line that a killed
            process left unfinished is ended first, so that it stays the only one lost.

    Raises:
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
        try:
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
        """Close the file, if it is ours."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def _put(self, line: bytes) -> None:
        """Write a line whole or, as far as the system lets, not at all."""
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
                with contextlib.suppress(OSError):  # a pipe cannot take back
                    self._file.truncate(self.size)
            raise
        self.size += len(line)

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
