"""Raw pictures from a pipe."""

from __future__ import annotations

import os
import select
import time

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.stream.sources.reader import Loader, lost

__all__ = ["RawReader"]

_begun: dict[int, memoryview] = {}
"""What has come, by descriptor, of a picture in which the pipe fell silent: whoever reads on must
go on there, or every later picture would be a mixture of two."""


class RawReader:
    """BGR pictures of one size, 3 bytes a pixel, without gaps, from a descriptor, left open.

    A pipe that is silent for `timeout_s` is lost and read on when it is opened again; only its
    end is final. A picture that the end cuts off is left out.

    Args:
        descriptor: of the pipe.
        size_hw: (height, width) of each picture, pixels.
        timeout_s: longest wait for a whole picture, seconds.
    """

    rate: float | None = None

    def __init__(self, descriptor: int, size_hw: tuple[int, int], timeout_s: float) -> None:
        self._descriptor = descriptor
        self._hw = size_hw
        self._timeout = timeout_s
        self._picture: NDArray[np.uint8] = np.empty(0, np.uint8)

    def grab(self) -> int | None:
        picture = np.empty((*self._hw, 3), np.uint8)
        view = picture.reshape(-1).data
        begun = _begun.pop(self._descriptor, memoryview(b""))
        view[: len(begun)] = begun
        have = len(begun)
        deadline = time.monotonic() + self._timeout
        while have < len(view):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                _begun[self._descriptor] = view[:have]
                raise lost("standard input", f"no whole picture in {self._timeout:g} s")
            try:
                count = os.readv(self._descriptor, [view[have:]])
            except OSError as error:
                raise lost("standard input", error.strerror or "it cannot be read") from error
            if not count:
                return None
            have += count
        self._picture = picture
        return time.monotonic_ns()

    def load(self) -> Loader:
        picture = self._picture
        return lambda: picture

    def close(self) -> None:
        """Nothing is held."""
