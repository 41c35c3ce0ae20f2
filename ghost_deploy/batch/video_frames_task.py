"""The frames of a video as parts: what is written stays, and the next run goes on behind it."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.batch.file_access import is_remote, without_query
from ghost_deploy.batch.row_detector import FrameToDetect
from ghost_deploy.batch.work_tasks import ArchiveFile, TaskDone, VideoTask, video_part
from ghost_deploy.core.errors import GhostDeployError, ImageError, InputError
from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.source_table import SourceAddress, open_source

if TYPE_CHECKING:
    from ghost_deploy.batch.part_worker import FrameChoice, PartWorker
    from ghost_deploy.batch.result_rows import ResultRows

LAST = "ghost_deploy.last_part"
"""Key in the metadata of the part with which a video ends."""

WHOLE = -1
"""In place of a frame: the row is about the video as a whole."""


def run_video(worker: PartWorker, task: VideoTask) -> TaskDone:
    """Detect in the frames of a video that are taken, and write them in parts.

    Args:
        worker: runs the model and writes.
        task: the video.

    Raises:
        GhostDeployError: as `PartWorker.run`.
    """
    run = _VideoRun(worker, task)
    source = task.file.source
    try:
        if source in task.fatal:
            raise InputError("reading it ended the process several times", fix="Check the video")
        with _opened(worker, task.file) as reader:
            _take_frames(worker, reader, run)
            if reader.missing:
                what = f"{reader.missing} frames that the file announces are not in it"
                run.add_whole_error(what)
    except InputError as error:
        run.add_whole_error(str(error))
    return run.finish()


class _VideoRun:
    """The parts of one video: a part is written when the first frame of the next one comes."""

    def __init__(self, worker: PartWorker, task: VideoTask) -> None:
        self._worker, self._task = worker, task
        self._rows = worker.rows()
        self.stamp = worker.setup.access.stamp(task.file.opened)
        self._taken = 0
        self._whole = ""
        self._there = set(task.done)
        self._written: list[tuple[str, int, int]] = []

    def begin_frame(self) -> bool:
        """Whether the frame that is taken next is to be detected; False if it was written."""
        number, place = divmod(self._taken, self._worker.setup.part_rows)
        if place == 0 and self._taken:
            self._write(number - 1, last=False)
        self._taken += 1
        return self._wants(number)

    @property
    def source(self) -> str:
        """Text of the column of that name."""
        return self._task.file.source

    @property
    def rows(self) -> ResultRows:
        """Of the part that is being filled."""
        return self._rows

    def add_whole_error(self, error: str) -> None:
        """A row about the video as a whole; the last part has it already where that is there."""
        self._whole = error
        if not self._task.has_last:
            self._rows.add_error(self.source, error, WHOLE, stamp=self.stamp)

    def finish(self) -> TaskDone:
        """Write the last part."""
        if not self._taken and not len(self._rows):
            self.add_whole_error("it has no frame")
        number = max(0, self._taken - 1) // self._worker.setup.part_rows
        is_last = not self._task.has_last
        if self._wants(number) and (is_last or len(self._rows)):
            if not is_last and self._taken % self._worker.setup.part_rows:
                self._add_shorter(number)
            self._write(number, last=is_last)
        elif is_last:  # it is shorter than it was, or can no longer be read
            number = max(self._task.done) + 1
            self._write(number, last=True)
        self._fill(number if is_last else max(self._task.done))
        return TaskDone(self._task.name, tuple(self._written))

    def _wants(self, number: int) -> bool:
        """Whether a part is missing; behind the last part there is nothing to write."""
        is_behind = self._task.has_last and number > max(self._task.done)
        return number not in self._task.done and not is_behind

    def _fill(self, end: int) -> None:
        """Parts with an error, in the place of those that were there and cannot be read again."""
        for number in sorted(set(range(end)) - self._there):
            self._add_shorter(number)
            self._write(number, last=False)

    def _add_shorter(self, number: int) -> None:
        what = self._whole or "it has become shorter: frames that were here are no longer in it"
        self._rows.add_error(self.source, what, WHOLE - 1 - number, stamp=self.stamp)

    def _write(self, number: int, *, last: bool) -> None:
        if not self._wants(number):
            return
        self._there.add(number)
        name = video_part(self._task.name, number)
        self._worker.write(name, self._rows, {LAST: "yes"} if last else None)
        self._written.append((name, len(self._rows), self._rows.errors))
        self._rows = self._worker.rows()


def _take_frames(worker: PartWorker, reader: Reader, run: _VideoRun) -> None:
    source = run.source
    choice, index = worker.setup.frames, -1
    slot = -math.inf
    while reader.grab() is not None:
        index += 1
        slot, is_taken = _next_slot(choice, index, reader.position_s, slot)
        if not is_taken:
            continue
        share = (reader.position_s or 0) / reader.duration_s if reader.duration_s else 0.0
        worker.step(source, min(max(share, 0.0), 1.0))
        if not run.begin_frame():
            continue
        try:
            if reader.is_broken:
                raise ImageError("the frame does not decode", fix="The video is damaged there")
            image = reader.load()()
        except ImageError as error:
            run.rows.add_error(source, str(error), index, reader.position_s, run.stamp)
            continue
        frame = FrameToDetect(image, source, index, reader.position_s, run.stamp)
        worker.detect([frame], run.rows)


def _next_slot(
    choice: FrameChoice, index: int, position_s: float | None, slot: float
) -> tuple[float, bool]:
    """Whether a frame is taken, and the interval of time that the last taken one was in."""
    if choice.every_s is None or position_s is None:
        return slot, index % choice.every == 0
    # Times are not exact: 0.29999 s is the frame at 0.3 s.
    here = math.floor(position_s / choice.every_s + 1e-6)
    return (here, True) if here > slot else (slot, False)


@contextlib.contextmanager
def _opened(worker: PartWorker, file: ArchiveFile) -> Iterator[Reader]:
    """The reader of a video; one in a store is copied to a temporary folder first."""
    with contextlib.ExitStack() as stack:
        path = file.opened
        if is_remote(path):
            folder = stack.enter_context(scratch_folder())
            path = str(folder / f"video{Path(without_query(file.source)).suffix}")
            worker.reader.copy(file, path)
        address = SourceAddress("video", path, file.source)
        try:
            reader = open_source(address, LivePolicy())
        except InputError:
            raise
        # What a decoder raises of its own is a fault of that video.
        except Exception as error:
            if isinstance(error, GhostDeployError):
                raise
            raise InputError(
                f"{file.source} cannot be opened", got=repr(error), fix="Check the video"
            ) from error
        stack.callback(reader.close)
        yield reader
