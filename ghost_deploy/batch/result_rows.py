"""The rows of a run over an archive: one for each image and each frame of a video that is taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ghost_deploy.batch.source_stamps import UNKNOWN, Stamp
from ghost_deploy.core.detections import Detections

COLUMNS = {
    "source": "path or address of the image or video, without credentials",
    "frame": "index of the frame in its video, from 0; 0 for an image",
    "position_s": "of the frame in its video, seconds; null for an image",
    "width": "of the image, pixels; null where it could not be read",
    "height": "of the image, pixels; null where it could not be read",
    "boxes": "x1, y1, x2, y2 of each detection in pixels of the image, best first",
    "scores": "of each detection, 0 to 1",
    "classes": "id of the class of each detection, from 0",
    "names": "name of the class of each detection",
    "error": "why the source could not be read; null where it could",
    "model": "sha256 of the model",
    "file_bytes": "size of the file when it was read; null where it is not known",
    "modified_ns": "when the file was changed last, nanoseconds since 1970; null as for file_bytes",
}
"""The columns and what is in them."""

_LIKE_ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")

KEY = ("source", "frame")
"""The columns that no two rows have in common."""


def arrow_schema() -> Any:
    """The `pyarrow.Schema` of the rows; see `COLUMNS`."""
    import pyarrow as pa

    kinds = {
        "source": pa.string(),
        "frame": pa.int64(),
        "position_s": pa.float64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "boxes": pa.list_(pa.list_(pa.float32())),
        "scores": pa.list_(pa.float32()),
        "classes": pa.list_(pa.int32()),
        "names": pa.list_(pa.string()),
        "error": pa.string(),
        "model": pa.string(),
        "file_bytes": pa.int64(),
        "modified_ns": pa.int64(),
    }
    return pa.schema([(name, kinds[name]) for name in COLUMNS])


class ResultRows:
    """Rows that are collected, column by column.

    Args:
        model: what the column `model` holds.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self.columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
        """The values of each column, in the order of the rows."""
        self.errors = 0
        """How many rows hold an error."""

    def __len__(self) -> int:
        return len(self.columns["source"])

    def add(
        self,
        source: str,
        found: Detections,
        size_hw: tuple[int, int],
        frame: int = 0,
        position_s: float | None = None,
        stamp: Stamp = UNKNOWN,
    ) -> None:
        """Add the detections of one image.

        Args:
            source: of the image; text that is valid UTF-8.
            found: in it.
            size_hw: (height, width) of the image, pixels.
            frame: index in its video.
            position_s: in its video, seconds.
            stamp: of its file.
        """
        height, width = size_hw
        values = (
            *(source, frame, position_s, width, height),
            *(found.xyxy.tolist(), found.score.tolist(), found.class_id.tolist(), found.names),
            *(None, self._model, *stamp),
        )
        self._append(values)

    def add_error(
        self,
        source: str,
        error: str,
        frame: int = 0,
        position_s: float | None = None,
        stamp: Stamp = UNKNOWN,
    ) -> None:
        """Add an image that could not be read; arguments as in `add`."""
        self.errors += 1
        lists: tuple[list[Any], ...] = ([], [], [], [])
        self._append((source, frame, position_s, None, None, *lists, error, self._model, *stamp))

    def table(self) -> Any:
        """The rows as a `pyarrow.Table` of `arrow_schema`."""
        import pyarrow as pa

        return pa.table(self.columns, schema=arrow_schema())

    def _append(self, values: Sequence[Any]) -> None:
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)


def key_text(path: str) -> str:
    r"""The text of a path in the column `source`.

    Parquet holds UTF-8 only: bytes of a file name that are not become `\xff`, and the path itself
    travels beside it. In such a text, and in one that looks like it, a backslash becomes two, so
    that no two names have the same text.
    """
    if path.isascii() and "\\" not in path:
        return path
    if _LIKE_ESCAPED.search(path) or _NOT_UTF8.search(path):
        path = path.replace("\\", "\\\\")
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
