"""One table, `detections.csv`: a row for each detection."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from ghost_deploy.stream.saved.saved_image import FormWriter, SavedImage
from ghost_deploy.stream.saved.whole_file import WholeFile

COLUMNS = (
    *("source", "index", "position_s", "width", "height", "class_id", "class_name", "score"),
    *("x1", "y1", "x2", "y2", "track_id"),
)
"""`index` counts the frames of a source from 0; boxes and sizes are in pixels."""


class CsvTable(FormWriter):
    """Writes a table in UTF-8 with one header row; an image without detections has no row.

    `position_s` is empty where the image is of no video, `track_id` where nothing is tracked.

    Args:
        folder: of the results.
        class_names: not used; the rows have the names.

    Raises:
        InputError: the system refuses.
    """

    def __init__(self, folder: Path, class_names: tuple[str, ...]) -> None:
        del class_names
        self._file = WholeFile(folder / "detections.csv")
        self._file.add(_lines([COLUMNS]))

    def write(self, saved: SavedImage) -> None:
        """Take one image."""
        self._file.add(_lines(csv_rows(saved)))

    def close(self) -> None:
        """Write the file."""
        self._file.finish()

    def abandon(self) -> None:
        """Leave no file."""
        self._file.abandon()


def csv_rows(saved: SavedImage) -> list[tuple[object, ...]]:
    """Values in the order of `COLUMNS`."""
    frame = saved.frame
    height, width = frame.size_hw
    # A file name that is not UTF-8 holds surrogates, which UTF-8 has not.
    source = os.fsencode(frame.source).decode("utf-8", "replace")
    image = (source, frame.index, frame.position_s, width, height)
    return [
        (*image, d.class_id, d.name, round(d.score, 6), *(round(v, 3) for v in d.xyxy), d.track_id)
        for d in saved.detections
    ]


def _lines(rows: Sequence[Sequence[object]]) -> bytes:
    lines = []
    for row in rows:
        text = io.StringIO()
        # A value is quoted for the characters of this end alone, and a name may hold either.
        csv.writer(text, lineterminator="\r\n").writerow(row)
        lines.append(text.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines).encode()
