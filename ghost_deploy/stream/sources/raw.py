"""Raw images from a pipe."""

from __future__ import annotations

import os
import select
import sys
import time

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.reader import Loader, Reader, lost
from ghost_deploy.stream.sources.source_table import SourceAddress

_begun: dict[int, memoryview] = {}
"""The received part, by descriptor, of an image that was interrupted: the next reader of the pipe
must continue there, or all later images would mix two."""


def open_reader(address: SourceAddress, policy: LivePolicy) -> RawReader:
    """See `SourceModule`; the target is `raw:WxH`."""
    width, height = map(int, address.target.removeprefix("raw:").split("x"))
    return RawReader(sys.stdin.fileno(), (height, width), policy.read_timeout_s)


class RawReader(Reader):
    """BGR images of one size, 3 bytes a pixel, without gaps, from a descriptor, which stays open.

    A pipe without data for `timeout_s` is lost, and read on when it is opened again; only its end
    is final. An image that the end cuts off is left out.

    Args:
        descriptor: of the pipe.
        size_hw: (height, width) of each image, pixels.
        timeout_s: longest wait for a whole image, seconds.
    """

    def __init__(self, descriptor: int, size_hw: tuple[int, int], timeout_s: float) -> None:
        self._descriptor = descriptor
        self._hw = size_hw
        self._timeout = timeout_s
        self._image: NDArray[np.uint8] = np.empty(0, np.uint8)

    def grab(self) -> int | None:
        image = np.empty((*self._hw, 3), np.uint8)
        view = image.reshape(-1).data
        begun = _begun.pop(self._descriptor, memoryview(b""))
        view[: len(begun)] = begun
        have = len(begun)
        deadline = time.monotonic() + self._timeout
        while have < len(view):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                _begun[self._descriptor] = view[:have]
                raise lost("standard input", f"no whole image in {self._timeout:g} s")
            try:
                count = os.readv(self._descriptor, [view[have:]])
            except OSError as error:
                raise lost("standard input", error.strerror or "it cannot be read") from error
            if not count:
                return None
            have += count
        self._image = image
        return time.monotonic_ns()

    def load(self) -> Loader:
        image = self._image
        return lambda: image
