"""What is left to do: the sources that have no rows yet, cut into tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ghost_deploy.batch.found_sources import FoundSources
from ghost_deploy.batch.output_store import WrittenRows
from ghost_deploy.batch.work_tasks import ImagesTask, Task, VideoTask, images_name, video_name

MOST_ROWS = 1000
_LEAST_ROWS, _LEAST_ROWS_OF_VIDEOS = 16, 128
_PARTS_A_WORKER = 8
_SMALLER_PARTS = 64
"""At the end parts become smaller, because workers wait for the last one: at most for so many of
the full size, so that a large archive does not get many small files."""


def rows_of_a_part(images: int, videos: int, workers: int) -> int:
    """How many rows a part gets at most, from the size of the run."""
    least = _LEAST_ROWS_OF_VIDEOS if videos else _LEAST_ROWS
    return max(least, min(MOST_ROWS, images // (workers * _PARTS_A_WORKER)))


@dataclass(frozen=True)
class WorkPlan:
    """The tasks of a run.

    Attributes:
        found: the sources.
        written: what the output holds.
        part_rows: most rows of a part.
        retries: errors are tried again.
    """

    found: FoundSources
    written: WrittenRows
    part_rows: int
    retries: bool = False

    @property
    def sources(self) -> int:
        """How many images and videos there are."""
        return len(self.found.images) + len(self.found.videos)

    def left(self) -> int:
        """How many images and videos are to be done."""
        import pyarrow.compute as pc

        again = sum(task.size for task in self._retried())
        return (pc.sum(self._missing()).as_py() or 0) + again + sum(1 for _ in self._videos())

    def tasks(self) -> Iterator[Task]:
        """What is to be done: videos first, because one may take long."""
        yield from self._videos()
        yield from self._retried()
        yield from self._images()

    def _videos(self) -> Iterator[VideoTask]:
        for file in self.found.videos:
            name = video_name(file.source)
            done = self.written.videos.get(name, set())
            if not done and self._has_image_row(file.source):
                continue
            failed = set()
            if self.retries:
                failed = {each for each in done if f"{name}-{each:06}" in self.written.failed}
            last = self.written.ended.get(name)
            # A part before the last one may be gone: it is filled in.
            if failed or last is None or not done.issuperset(range(last)):
                is_there = last is not None and last not in failed
                yield VideoTask(name, file, frozenset(done - failed), has_last=is_there)

    def _has_image_row(self, source: str) -> bool:
        """Whether the rows of a video would double that of an image."""
        import pyarrow.compute as pc

        return bool(pc.index(self.written.images, source).as_py() >= 0)

    def _retried(self) -> Iterator[ImagesTask]:
        if not self.retries:
            return
        named = set(self.found.images.to_pylist()) if self.written.failed else set()
        for name, sources in self.written.failed.items():
            again = [source for source in sources if source in named]
            if again and not name.startswith("video-"):
                yield ImagesTask(name, self.found.files(again), keeps=True)

    def _images(self) -> Iterator[ImagesTask]:
        missing = self._missing()
        # Blocks of all sources, not of the missing ones: another run makes the same parts.
        for start, size in _blocks(len(self.found.images), self.part_rows):
            block = self.found.images.slice(start, size)
            left = block.filter(missing.slice(start, size)).to_pylist()
            if left:
                yield ImagesTask(images_name(left), self.found.files(left))

    def _missing(self) -> Any:
        """For each image whether it has no row."""
        import pyarrow as pa
        import pyarrow.compute as pc

        named = pa.array(sorted(self.written.video_sources), pa.large_string())
        written = pa.chunked_array([*self.written.images.chunks, named], pa.large_string())
        return pc.invert(pc.is_in(self.found.images, value_set=written))


def _blocks(count: int, part_rows: int) -> Iterator[tuple[int, int]]:
    """First image and number of images of each part; the last ones become smaller."""
    share = max(1, min(_SMALLER_PARTS, count // (2 * part_rows)))
    start = 0
    while start < count:
        size = min(part_rows, max(_LEAST_ROWS, (count - start) // share), count - start)
        yield start, size
        start += size
