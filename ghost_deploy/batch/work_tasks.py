"""What a worker does at a time: the images of one part, or one video.

The name of a part is a hash of its keys. A task that is done twice, because a worker was taken for
dead or its answer was lost, writes the same part again: no row is there twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


class ArchiveFile(NamedTuple):
    r"""An image or a video.

    Attributes:
        source: text in the column of that name.
        path: to open; empty where it is `source`. They differ where a name is not UTF-8.
    """

    source: str
    path: str = ""

    @property
    def opened(self) -> str:
        """The path or address to open."""
        return self.path or self.source


@dataclass(frozen=True)
class ImagesTask:
    """Images that become one part.

    Attributes:
        name: of the part.
        files: the images, in order.
        keeps: rows of the part that is there with this name stay, but for those of `files`.
        fatal: sources that ended the worker that read them; they become errors.
    """

    name: str
    files: tuple[ArchiveFile, ...]
    keeps: bool = False
    fatal: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """How many images it has."""
        return len(self.files)


@dataclass(frozen=True)
class VideoTask:
    """A video, the frames of which become parts, one after another.

    Attributes:
        name: of its parts, without their number.
        file: the video.
        done: numbers of the parts that are there already.
        fatal: as in `ImagesTask`.
        has_last: the part that says that the video ends there is one of them.
    """

    name: str
    file: ArchiveFile
    done: frozenset[int] = frozenset()
    fatal: frozenset[str] = frozenset()
    has_last: bool = False

    @property
    def size(self) -> int:
        """A video counts as one source."""
        return 1


Task: TypeAlias = "ImagesTask | VideoTask"


@dataclass(frozen=True)
class TaskDone:
    """What a worker answers.

    Attributes:
        name: of the task.
        parts: name, rows and errors of each part that it wrote.
        rows, errors: of all of them.
    """

    name: str
    parts: tuple[tuple[str, int, int], ...] = ()
    rows: int = field(init=False, default=0)
    errors: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", sum(rows for _, rows, _ in self.parts))
        object.__setattr__(self, "errors", sum(errors for *_, errors in self.parts))


def images_name(sources: Sequence[str]) -> str:
    """The name of the part of these images."""
    return f"images-{_hash(*sources)}"


def video_name(source: str) -> str:
    """The common beginning of the names of the parts of a video."""
    return f"video-{_hash(source)}"


def video_part(name: str, number: int) -> str:
    """The name of a part of a video."""
    return f"{name}-{number:06}"


def _hash(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:20]
