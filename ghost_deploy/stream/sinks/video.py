"""Annotated video that stays playable when the process is killed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from ghost_deploy.core.errors import InputError, MissingExtraError
from ghost_deploy.core.frame import Frame
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.record import Annotator, captured_at, file_stem
from ghost_deploy.stream.sinks.recording import Recording
from ghost_deploy.stream.sinks.retention import FileStore, dated_path
from ghost_deploy.stream.sinks.sink import Annotate, Sink

_SUFFIX = ".mp4"
_LONGEST_FILE_S = 600
_OPEN_SHARE = 0.25  # of what is kept: the files that are being written


def open_sink(target: str, context: SinkContext) -> Sink:
    """See `SinkModule`; the target is a folder."""
    return VideoSink(
        Path(target),
        context.annotate,
        stem_of=context.stem_of,
        time_base_of=context.pipeline.time_base_of,
        note=context.note,
        most_bytes=context.most_bytes,
    )


class VideoSink(Sink):
    """Writes one MP4 (H.264) for each source, `<stem>.mp4`, in real time, pauses included.

    An existing file is never replaced; it, or a change of resolution, starts the next file,
    `<stem>-2.mp4`. After SIGKILL all but the last second can be played. With `most_bytes` a file
    ends after ten minutes, or at its share of a quarter of `most_bytes`, and is named
    `<stem>-<time of its first frame>.mp4`.

    Args:
        folder: made if it does not exist.
        annotate: returns the annotated image.
        stem_of: returns the beginning of the file names of a source, by its id.
        time_base_of: returns the unit of the times of a source that is a video, seconds, which is
            kept; the time of a frame is then its `position_s`. None for a live source: it is the
            time of capture since the first frame.
        note: tells the user that a file has another name than its source.
        most_bytes: kept at most in the folder, all when None; the oldest files are removed.

    Raises:
        MissingExtraError: PyAV is not installed.
        InputError: the folder or a file cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        annotate: Annotate | None = None,
        *,
        stem_of: Callable[[str], str] = file_stem,
        time_base_of: Callable[[str], Fraction | None] = lambda _: None,
        note: Callable[[str], None] = lambda _: None,
        most_bytes: int | None = None,
    ) -> None:
        try:
            import av  # noqa: F401
        except ImportError as error:
            raise MissingExtraError.for_extra("av", "stream") from error
        self._folder = folder
        self._annotate = annotate or Annotator()
        self._stem_of, self._time_base_of, self._note = stem_of, time_base_of, note
        self._open: dict[str, Recording] = {}
        self._begun: set[str] = set()
        self._store = FileStore(folder, _SUFFIX, most_bytes)
        self._lost = 0

    @property
    def held(self) -> int:
        """Frames of the fragments that are under way: half a second of each video on average."""
        return sum(recording.held for recording in self._open.values())

    @property
    def lost(self) -> int:
        """Frames of fragments that could not be written."""
        return self._lost

    def write(self, result: Result) -> None:
        """Append the annotated image of one result to the video of its source.

        Raises:
            InputError: the disk refuses; the next result then begins another file.
        """
        self._store.check_free()
        recording = self._open.get(result.source)
        if recording is not None and self._is_full(recording, result.frame):
            self._end(result.source)
            recording = None
        if recording is None:
            base = self._time_base_of(result.source)
            path = self._path_for(result)
            # The first file begins where the video does, the later ones with their first frames.
            is_first = result.source not in self._begun
            recording = Recording(path, result.frame, base, begins_at_zero=is_first)
            self._open[result.source] = recording
            self._begun.add(result.source)
        try:
            recording.add(result.frame, self._annotate(result))
        except InputError:
            del self._open[result.source]
            self._lost += recording.held
            recording.abandon()
            raise

    def _is_full(self, recording: Recording, frame: Frame) -> bool:
        most = self._store.most_bytes
        if recording.size_hw != frame.size_hw:
            return True
        if most is None:
            return False
        share = most * _OPEN_SHARE / len(self._open)
        seconds = (frame.t_capture_ns - recording.began_ns) / 1e9
        return seconds >= _LONGEST_FILE_S or recording.size >= share

    def _end(self, source: str) -> None:
        recording = self._open.pop(source)
        try:
            recording.close()
        finally:
            self._lost += recording.held
            self._store.add(recording.path)
            self._store.trim(round((self._store.most_bytes or 0) * _OPEN_SHARE))

    def _path_for(self, result: Result) -> Path:
        stem = self._stem_of(result.source)
        if self._store.most_bytes is None:
            path = _free_path(self._folder, stem)
            if stem not in {path.stem, result.source}:
                self._note(f"{path} holds {result.label}: there is a {stem}{_SUFFIX} already")
            return path
        return dated_path(self._folder, stem, captured_at(result.frame), _SUFFIX)

    def close(self) -> None:
        """End every file; the others are ended even if one fails.

        Raises:
            InputError: a file could not be ended, the first of them.
        """
        failures = []
        for source in list(self._open):
            try:
                self._end(source)
            except InputError as error:
                failures.append(error)
        if failures:
            raise failures[0]


def _free_path(folder: Path, stem: str) -> Path:
    others = (f"{stem}-{n}{_SUFFIX}" for n in itertools.count(2))
    names = itertools.chain([f"{stem}{_SUFFIX}"], others)
    return next(path for path in map(folder.joinpath, names) if not path.exists())
