"""Where frames come from: an image, a folder or a glob, read one at a time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ghost_deploy.errors import ImageError, NotYetError
from ghost_deploy.frame import Frame
from ghost_deploy.processing.images import list_images, read_image

__all__ = ["find_images", "read_frames"]

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)


def find_images(sources: Sequence[str]) -> list[Path]:
    """The image files that `sources` name: each a file, a folder or a glob pattern.

    Returns:
        In the order of the sources; a file that two of them name comes once.

    Raises:
        NotYetError: a source is live or a video.
        ImageError: a source names no image.
    """
    found: dict[Path, Path] = {}
    for source in sources:
        _refuse_live(source)
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


def _refuse_live(source: str) -> None:
    if Path(source).exists():
        is_video = Path(source).suffix.lower() in _VIDEO_SUFFIXES
        kind = "a video file" if is_video else ""
    elif source == "-":
        kind = "standard input"
    elif source.isdecimal() or source.startswith("/dev/video"):
        kind = "a camera"
    elif scheme := _URI.match(source):
        kind = f"a {scheme[0]} address"
    else:
        kind = ""
    if kind:
        # An address may hold a password: only its scheme is repeated.
        raise NotYetError(
            f"{kind} cannot be a source yet", fix="Give image files, a folder or a glob pattern"
        )
