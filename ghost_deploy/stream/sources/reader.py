"""What reads frames from an open source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import InputError

__all__ = ["Loader", "Reader", "lost"]

Loader = Callable[[], NDArray[np.uint8]]
"""Gives the picture of a grabbed frame, (H, W, 3) uint8 BGR; raises ImageError if it is broken."""


class Reader(Protocol):
    """An open source. One thread uses it."""

    rate: float | None
    """Frames a second at which a video plays; None where frames come in their own time."""

    def grab(self) -> int | None:
        """Wait for the next frame: monotonic nanoseconds at its capture, or None at the end.

        Raises:
            InputError: the source is lost.
        """

    def load(self) -> Loader:
        """The frame that was grabbed last; what is costly may be put off until the loader runs."""

    def close(self) -> None:
        """Release the source."""


def lost(label: str, why: str, fix: str = "It is opened again by itself") -> InputError:
    """The error of a source that cannot be read at present."""
    return InputError(f"cannot read {label}", got=why, fix=fix)
