"""The interface of what reads a source."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError, InputError

if TYPE_CHECKING:
    from fractions import Fraction

Loader = Callable[[], NDArray[np.uint8]]
"""Returns the image of a grabbed frame, (H, W, 3) uint8 BGR; raises ImageError if it is broken."""


class Reader(Protocol):
    """An open source. One thread uses it."""

    time_base: Fraction | None = None
    """Unit of the times of a video, seconds; None if frames come at their own pace."""

    position_s: float | None = None
    """Of the frame grabbed last in its video, seconds; None if it is of no video."""

    duration_s: float | None = None
    """Of a video by its header, seconds; None if unknown, or if it does not end."""

    is_live: bool | None = None
    """Whether frames come at their own pace; None if that is as the kind of the source says."""

    pause_s: float = 0.0
    """How long to wait before the next `grab`, seconds."""

    name: str = ""
    """Of the frame grabbed last, where each has its own; it holds no credentials."""

    missing: int = 0
    """Frames that the container announces and does not hold; known at the end."""

    is_broken: bool = False
    """Whether the frame grabbed last is known to be no image; `load` is not called then."""

    def grab(self) -> int | None:
        """Wait for the next frame: monotonic nanoseconds at its capture, or None at the end.

        Raises:
            InputError: the source is lost.
        """

    def load(self) -> Loader:
        """Return the loader of the frame grabbed last, which may defer the decoding."""

    def close(self) -> None:
        """Release what is held; by default there is nothing."""
        return


def broken(what: str) -> Loader:
    """The loader of a frame that is no image.

    Args:
        what: the reason.
    """

    def load() -> NDArray[np.uint8]:
        raise ImageError(what, fix="It is left out")

    return load


def lost(label: str, why: str, fix: str = "It is opened again automatically") -> InputError:
    """The error of a source that cannot be read at present.

    Args:
        label: of the source, without credentials.
        why: the reason, without credentials.
        fix: what the user can do.
    """
    return InputError(f"cannot read {label}", got=why, fix=fix)
