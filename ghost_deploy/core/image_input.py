"""What can be given as an image; `processing.images.as_bgr` reads it."""

from __future__ import annotations

import os
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from ghost_deploy.core.frame import Frame


class PilImage(Protocol):
    """What is used of a `PIL.Image.Image`; Pillow is not needed to run a model."""

    @property
    def mode(self) -> str:
        """The kind of its pixels, e.g. `RGB`."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""

    def convert(self, mode: str, /) -> Any:
        """The same image in another mode."""


ImageInput: TypeAlias = (
    NDArray[Any] | str | os.PathLike[str] | bytes | bytearray | memoryview | Frame | PilImage
)
"""An image: an array as returned by `cv2.imread` (BGR), a path, the bytes of an image file, a
`Frame` or a PIL image."""
