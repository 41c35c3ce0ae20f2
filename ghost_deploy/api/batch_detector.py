"""A detector for the batches of other engines: Ray Data, Daft, Spark."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ghost_deploy.api.common import AnyPath
from ghost_deploy.api.model_settings import ModelSettings
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import UsageError

if TYPE_CHECKING:
    from ghost_deploy.batch.row_detector import RowDetector

_INPUTS = ("bytes", "content", "path", "item", "source", "uri", "url")
_BYTES = (bytes, bytearray, memoryview)

_opened: dict[bytes, RowDetector] = {}
_opening = threading.Lock()


class BatchDetector:
    """Detects objects in batches of paths or of the bytes of image files.

    It can be pickled, and opens its model when it gets the first batch, once in each process: as
    the class of an actor or as a function of tasks, on any machine that sees the bundle. An image
    that cannot be read is a row with its error.

    Args:
        model: a bundle or a model file, as in `load`.
        column: with the paths or bytes; by default the first of bytes, content, path, item,
            source, uri and url that the batch has.
        classes: names or numbers of the classes to keep; all when empty.
        batch: images that the model runs at once.
        options: further arguments of `load`, e.g. `runtime`, `precision`, `conf`; one thread by
            default.

    Examples:
        >>> detect = BatchDetector("out/best", conf=0.4)  # doctest: +SKIP
        >>> detect({"path": ["a.jpg", "b.jpg"]})["scores"]  # doctest: +SKIP
    """

    def __init__(
        self,
        model: AnyPath | Bundle,
        column: str | None = None,
        *,
        classes: Sequence[str | int] = (),
        batch: int = 1,
        **options: Any,
    ) -> None:
        path = model.path if isinstance(model, Bundle) else model
        self.column = column
        self.batch = batch
        self._settings = ModelSettings(os.path.abspath(path), classes=tuple(classes), **options)

    def __call__(self, batch: Any) -> Any:
        """Detect objects in each image of a batch.

        Args:
            batch: columns by name, each an array or list; a `pyarrow.Table`; a pandas DataFrame;
                or a list of paths or bytes.

        Returns:
            The same kind, of a list the columns by name: the columns of the batch without the
            bytes, and those of `ghost-deploy batch`: source, frame, width, height, boxes, scores,
            classes, names, error, model. Lists in columns are Python lists; as a `pyarrow.Table`
            they have the types of `ghost-deploy batch`.

        Raises:
            UsageError: the batch has no column of paths or bytes.
            GhostDeployError: the model cannot be opened, or fails on everything.
        """
        columns = _columns_of(batch)
        name = self._column_in(columns)
        values = columns[name]
        named = next((columns[each] for each in ("path", "source") if each in columns), None)
        rows = self._detect(list(values), None if named is values else named)
        kept = {
            key: value
            for key, value in columns.items()
            if key not in rows.columns and not (key == name and _holds_bytes(value))
        }
        return _like(batch, kept, rows)

    def _column_in(self, columns: Mapping[str, Any]) -> str:
        names = [self.column] if self.column else _INPUTS
        found = next((name for name in names if name in columns), None)
        if found is None:
            raise UsageError(
                "the batch has no column of paths or bytes",
                got=", ".join(columns) or "no column",
                expected=", ".join(names),
                fix="Name it: BatchDetector(model, column=...)",
            )
        return found

    def _detect(self, values: list[Any], names: Any) -> Any:
        from ghost_deploy.batch.file_access import FileAccess
        from ghost_deploy.batch.image_reading import FileReader, image_of
        from ghost_deploy.batch.row_detector import FrameToDetect
        from ghost_deploy.core.errors import ImageError

        detector = self._open()
        rows, waiting = detector.rows(), list[FrameToDetect]()
        reader = FileReader(FileAccess())
        for index, value in enumerate(values):
            source, image = image_of(reader, value, names[index] if names is not None else None)
            if isinstance(image, ImageError):
                # Rows stay in the order of the batch.
                detector.detect(waiting, rows)
                waiting = []
                rows.add_error(source, str(image))
                continue
            waiting.append(FrameToDetect(image, source))
            if len(waiting) >= self.batch:
                detector.detect(waiting, rows)
                waiting = []
        detector.detect(waiting, rows)
        reader.check()
        return rows

    def _open(self) -> RowDetector:
        """The detector of this process for these settings."""
        from ghost_deploy.batch.row_detector import RowDetector

        key = pickle.dumps(self._settings)
        with _opening:
            if key not in _opened:
                _opened[key] = RowDetector(self._settings)
            return _opened[key]


def _columns_of(batch: Any) -> dict[str, Any]:
    if hasattr(batch, "to_pydict"):  # pyarrow
        return dict(batch.to_pydict())
    if isinstance(batch, Mapping):
        return dict(batch)
    if hasattr(batch, "columns") and hasattr(batch, "to_dict"):  # pandas
        return {str(name): batch[name].tolist() for name in batch.columns}
    return {"item": list(batch)}


def _holds_bytes(values: Any) -> bool:
    return any(isinstance(value, _BYTES) for value in values)


def _like(batch: Any, kept: dict[str, Any], rows: Any) -> Any:
    """The columns as the kind of the batch."""
    if hasattr(batch, "to_pydict"):
        table = rows.table()
        for name in reversed(kept):
            table = table.add_column(0, name, batch[name])
        return table
    columns = {**kept, **{name: _array(values) for name, values in rows.columns.items()}}
    return type(batch)(columns) if hasattr(batch, "to_dict") else columns


def _array(values: list[Any]) -> Any:
    """(N,) array; of objects for texts, lists and what may be missing."""
    if all(isinstance(value, int) for value in values) and values:
        return np.asarray(values, np.int64)
    array = np.empty(len(values), object)
    for index, value in enumerate(values):
        array[index] = value
    return array
