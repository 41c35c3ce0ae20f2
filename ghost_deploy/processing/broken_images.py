"""What is done with images that cannot be read, decided before any long work starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ghost_deploy.core.errors import ImageError, UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.processing.images import read_image

OnBroken = Literal["skip", "stop"]
"""`skip` leaves an image out that cannot be read, and counts it; `stop` ends before the work."""

_NAMED = 5


@dataclass(frozen=True)
class ReadableImages:
    """The images of a command.

    Attributes:
        paths: those that can be read, in their order.
        broken: the error of each of the others.
    """

    paths: tuple[Path, ...]
    broken: tuple[tuple[Path, ImageError], ...] = ()

    @property
    def note(self) -> str:
        """A sentence on what was left out; empty where nothing was."""
        if not self.broken:
            return ""
        names = ", ".join(path.name for path, _ in self.broken[:_NAMED])
        more = ", ..." if len(self.broken) > _NAMED else ""
        total = len(self.paths) + len(self.broken)
        return f"{len(self.broken)} of {total} images could not be read: {names}{more}"


def readable_images(
    paths: Sequence[Path], on_broken: OnBroken = "skip", progress: Progress | None = None
) -> ReadableImages:
    """Decode every image once and keep none, to know which can be read.

    Args:
        paths: image files.
        on_broken: see `OnBroken`.
        progress: called for each image.

    Raises:
        ImageError: one cannot be read and `on_broken` is `stop`, or none can be read.
        UsageError: `on_broken` is something else.
    """
    check_on_broken(on_broken)
    usable: list[Path] = []
    broken: list[tuple[Path, ImageError]] = []
    # Decoding releases Python's lock; few threads, because each holds an image.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for index, error in enumerate(pool.map(_error_of, paths)):
            (progress or silent)("checking images", index, len(paths))
            if error is None:
                usable.append(paths[index])
            elif on_broken == "stop":
                pool.shutdown(wait=False, cancel_futures=True)
                raise error
            else:
                broken.append((paths[index], error))
    if broken and not usable:
        raise ImageError(
            f"none of {len(broken)} images can be read", got=str(broken[0][1]), fix="Check them"
        )
    return ReadableImages(tuple(usable), tuple(broken))


def check_on_broken(on_broken: str) -> None:
    """Require `skip` or `stop`.

    Raises:
        UsageError: it is something else.
    """
    if on_broken not in ("skip", "stop"):
        raise UsageError(
            "this is nothing that can be done with a broken image",
            got=repr(on_broken),
            expected="skip or stop",
            fix="Name one of those",
        )


def _error_of(path: Path) -> ImageError | None:
    try:
        read_image(path)
    except ImageError as error:
        return error
    return None
