"""Where frames come from: an image, a folder or a glob, read one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.processing.images import list_images, read_image

__all__ = ["find_images", "read_frames"]


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
    """Read the images one at a time, when each is asked for.

    An image that cannot be read is given to `on_error` and left out; the others follow. It
    keeps its index, so that `Frame.index` is the position in `paths`.
    """
    for index, path in enumerate(paths):
        try:
            image = read_image(path)
        except ImageError as error:
            on_error(path, error)
            continue
        yield Frame(image, index=index, t_capture_ns=time.monotonic_ns(), source=str(path))
