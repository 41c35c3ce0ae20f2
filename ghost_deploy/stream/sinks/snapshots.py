"""Images of the moments in which something was detected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2

from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.record import Annotator, DetectionGate, captured_at, file_stem
from ghost_deploy.stream.sinks.retention import FileStore, dated_path
from ghost_deploy.stream.sinks.sink import Annotate, Sink, write_file

_SUFFIX = ".jpg"


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is a folder."""
    return SnapshotSink(
        Path(target), context.annotate, stem_of=context.stem_of, most_bytes=context.most_bytes
    )


class SnapshotSink(Sink):
    """Writes JPEG images of results with detections, `<stem>-<UTC time of capture>.jpg`.

    Args:
        folder: made if it does not exist.
        annotate: returns the annotated image.
        stem_of: returns the beginning of the file names of a source, by its id.
        every_s: least time between two snapshots of a source, seconds.
        most_bytes: kept at most, all when None; the oldest are removed.

    Raises:
        InputError: the folder or an image cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        annotate: Annotate | None = None,
        *,
        stem_of: Callable[[str], str] = file_stem,
        every_s: float = 10.0,
        most_bytes: int | None = None,
    ) -> None:
        self._folder = folder
        self._annotate = annotate or Annotator()
        self._stem_of = stem_of
        self._gate = DetectionGate(every_s)
        self._store = FileStore(folder, _SUFFIX, most_bytes)

    def wants(self, result: Result) -> bool:
        """Whether it has detections and the interval is over."""
        return self._gate.would_admit(result)

    def write(self, result: Result) -> None:
        """Write the image if it has detections and the interval is over."""
        if not self._gate.admits(result):
            return
        self._store.check_free()
        stem, moment = self._stem_of(result.source), captured_at(result.frame)
        target = dated_path(self._folder, stem, moment, _SUFFIX)
        _, data = cv2.imencode(_SUFFIX, self._annotate(result))
        write_file(target, data.tobytes())
        self._store.add(target)
        self._store.trim()
