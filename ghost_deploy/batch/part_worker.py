"""What one worker does: open the model once, read, detect, and write parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from ghost_deploy.batch.file_access import FileAccess
from ghost_deploy.batch.image_reading import FileReader
from ghost_deploy.batch.part_files import PartFiles
from ghost_deploy.batch.part_writer import PartWriter
from ghost_deploy.batch.result_rows import ResultRows, arrow_schema
from ghost_deploy.batch.row_detector import FrameToDetect, ModelOpener, RowDetector
from ghost_deploy.batch.work_tasks import ArchiveFile, ImagesTask, Task, TaskDone
from ghost_deploy.core.errors import BackendError, ImageError
from ghost_deploy.core.pixel_limit import set_max_pixels


@dataclass(frozen=True)
class FrameChoice:
    """Which frames of a video are taken.

    Attributes:
        every: each so many-th frame, from the first.
        every_s: instead, one frame for each so many seconds.
    """

    every: int = 1
    every_s: float | None = None


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker is told once; it travels to other processes and machines.

    Attributes:
        model: opens the model.
        sha256: hash of the model that the run is about.
        parts: where parts are written.
        access: opens the stores of sources.
        frames: of videos.
        part_rows: most rows of a part of a video.
        batch: most images that the model runs at once.
        max_pixels: as in `core.pixel_limit`; None leaves the limit as it is.
    """

    model: ModelOpener
    sha256: str
    parts: PartFiles
    access: FileAccess = field(default_factory=FileAccess)
    frames: FrameChoice = FrameChoice()
    part_rows: int = 1000
    batch: int = 1
    max_pixels: int | None = None


def no_step(source: str, done: float) -> None:
    """Where it is not asked how far a task is."""


class PartWorker(RowDetector):
    """Does tasks, one after another.

    Args:
        setup: of the run.
        step: called before each source or frame with its source and how much of the task is
            done, 0 to 1.

    Raises:
        GhostDeployError: the model cannot be opened, or is another one than that of the run.
    """

    def __init__(self, setup: WorkerSetup, step: Callable[[str, float], None] = no_step) -> None:
        if setup.max_pixels is not None:
            set_max_pixels(setup.max_pixels)
        super().__init__(setup.model)
        self.setup = setup
        self.step = step
        self.reader = FileReader(setup.access, names_remarks=True)
        self._writer = PartWriter(setup.parts)
        if self.sha256 != setup.sha256:
            self.close()
            raise BackendError(
                "this worker opened another model than the run is about",
                got=self.sha256[:12],
                expected=setup.sha256[:12],
                fix="Name --runtime and --precision, and give every node the same bundle",
            )

    def run(self, task: Task) -> TaskDone:
        """Do a task: write its part, or those of a video.

        Raises:
            StoreError: a part cannot be written, or a store refuses everything.
            BackendError: the model fails on everything.
        """
        done = self.start(task)
        self._writer.wait()
        return done

    def then(self, call: Callable[[], None]) -> Future[None]:
        """Make a call when what was started is written; see `PartWriter.then`."""
        return self._writer.then(call)

    def close(self) -> None:
        """Close the model, behind what is being written."""
        self._writer.close()
        self.reader.close()
        super().close()

    def start(self, task: Task) -> TaskDone:
        """Do a task, the last part of which may still be on its way to the disk.

        Raises:
            StoreError: as `run`; also of the part before.
            BackendError: as `run`.
        """
        if isinstance(task, ImagesTask):
            return self._images(task)
        from ghost_deploy.batch.video_frames_task import run_video

        return run_video(self, task)

    def write(self, name: str, rows: ResultRows, facts: dict[str, str] | None = None) -> None:
        """Write a part, if the store of the sources did not refuse them all.

        Raises:
            StoreError: see `run`.
        """
        self.reader.check()
        self._writer.write(name, rows.table(), facts)

    def _images(self, task: ImagesTask) -> TaskDone:
        rows = self.rows()
        files = [file for file in task.files if file.source not in task.fatal]
        for source in task.fatal:
            rows.add_error(source, "reading it ended the process several times")
        waiting: list[FrameToDetect] = []
        self._tell(files, 0)
        for index, (file, image) in enumerate(self.reader.images(files), 1):
            if isinstance(image, ImageError):
                rows.add_error(file.source, str(image), stamp=self.reader.stamp)
            else:
                waiting.append(FrameToDetect(image, file.source, stamp=self.reader.stamp))
            if len(waiting) >= self.setup.batch:
                self.detect(waiting, rows)
                waiting = []
            self._tell(files, index)
        self.detect(waiting, rows)
        self.reader.check()
        table = rows.table()
        if task.keeps:
            table = _kept_beside(self.setup.parts, task, table)
        self._writer.write(task.name, table)
        errors = table.num_rows - table["error"].null_count
        # Of a part that is written again only its new rows are news.
        counts = (len(rows), rows.errors) if task.keeps else (table.num_rows, errors)
        return TaskDone(task.name, ((task.name, *counts),))

    def _tell(self, files: Sequence[ArchiveFile], index: int) -> None:
        if index < len(files):
            self.step(files[index].source, index / len(files))


def _kept_beside(parts: PartFiles, task: ImagesTask, table: Any) -> Any:
    """The rows of the part that is there, but for those of `table`, and those of `table`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    old = parts.read_part(task.name)
    if old is None:
        return table
    old = old.cast(arrow_schema())
    return pa.concat_tables(
        [old.filter(pc.invert(pc.is_in(old["source"], value_set=table["source"]))), table]
    )
