"""Pictures of the moments in which something was detected."""

from __future__ import annotations

from pathlib import Path

import cv2

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.image_results import cannot_write, write_whole
from ghost_deploy.stream.sinks.record import (
    Annotator,
    DetectionGate,
    Picture,
    captured_at,
    file_stem,
)
from ghost_deploy.stream.sinks.retention import Store, dated_path

__all__ = ["SnapshotSink"]

_SUFFIX = ".jpg"


class SnapshotSink:
    """JPEG pictures of results with detections, `<source>-<UTC time of capture>.jpg`.

    Args:
        folder: made if it is not there.
        picture: gives the annotated picture.
        every_s: least time between two snapshots of a source, seconds.
        most_bytes: kept at most; the oldest are removed.

    Raises:
        InputError: the folder or a picture cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        picture: Picture | None = None,
        *,
        every_s: float = 10.0,
        most_bytes: int | None = None,
    ) -> None:
        self._folder = folder
        self._picture = picture or Annotator()
        self._gate = DetectionGate(every_s)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._store = Store(folder, _SUFFIX, most_bytes)
        except OSError as error:
            raise cannot_write(str(folder), error) from error

    def write(self, result: Result) -> None:
        """Keep the picture if it holds detections and is not too soon after the last."""
        if not self._gate.admits(result):
            return
        self._store.check_free()
        stem, moment = file_stem(result.source), captured_at(result.frame)
        target = dated_path(self._folder, stem, moment, _SUFFIX)
        _, data = cv2.imencode(_SUFFIX, self._picture(result))
        write_whole(target, data.tobytes())
        self._store.add(target)
        self._store.trim()

    def close(self) -> None:
        """Nothing is held."""
