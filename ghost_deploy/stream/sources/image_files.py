"""Images: a file, a folder or a glob pattern."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.processing.images import list_images, read_image
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.reader import Loader, Reader
from ghost_deploy.stream.sources.source_table import SourceAddress


class ImagesReader(Reader):
    """Image files, one after another; one that cannot be read is a broken frame."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = iter(paths)
        self._path = Path()

    def grab(self) -> int | None:
        path = next(self._paths, None)
        if path is None:
            return None
        self._path, self.name = path, str(path)
        return time.monotonic_ns()

    def load(self) -> Loader:
        return functools.partial(read_image, self._path)


def open_reader(address: SourceAddress, policy: LivePolicy) -> ImagesReader:
    """Read the images of the live pipeline, see `SourceModule`."""
    return ImagesReader(list_images(address.target))


def find_images(sources: Sequence[str]) -> list[Path]:
    """The image files that `sources` name: each a file, a folder or a glob pattern.

    Returns:
        In the order of the sources; a file that two of them name comes once.

    Raises:
        ImageError: a source names no image.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        for path in list_images(source):
            found.setdefault(path.absolute(), path)
    return list(found.values())


def read_frames(
    paths: Iterable[Path], on_error: Callable[[Path, ImageError], None]
) -> Iterator[Frame]:
    """Read images one at a time, for image mode; each when the iterator asks for it.

    An image that cannot be read is passed to `on_error` and left out. It keeps its index:
    `Frame.index` is the position in `paths`.
    """
    for index, path in enumerate(paths):
        try:
            image = read_image(path)
        except ImageError as error:
            on_error(path, error)
            continue
        yield Frame(image, index=index, t_capture_ns=time.monotonic_ns(), source=str(path))
