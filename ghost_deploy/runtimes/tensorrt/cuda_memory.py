"""Host and device memory of one tensor."""

from __future__ import annotations

import contextlib
import ctypes
import math
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import GhostDeployError
from ghost_deploy.runtimes.tensorrt.cuda_calls import TO_DEVICE, TO_HOST, Cudart


class TensorBuffer:
    """Page-locked host memory and device memory of the same size.

    The host memory lives as long as any array over it: a result that is kept after the runtime
    was closed stays valid.

    Args:
        cuda: the library; the device is the calling thread's current one.
        size: bytes of the largest tensor.

    Raises:
        BackendError: out of memory; nothing stays allocated.
    """

    def __init__(self, cuda: Cudart, size: int) -> None:
        self._cuda = cuda
        self._size = max(size, 1)  # CUDA gives no address for 0 bytes
        address = cuda.host_alloc(self._size)
        block = (ctypes.c_ubyte * self._size).from_address(address)
        release = weakref.finalize(block, _free_host, cuda, address)
        release.atexit = False  # the process frees it, and CUDA may be gone by then
        self.host_address = address
        try:
            self.device_address = cuda.malloc(self._size)
        except GhostDeployError:
            release()
            raise
        self._bytes: NDArray[np.uint8] | None = np.frombuffer(memoryview(block), np.uint8)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """A view of the first bytes of the host memory."""
        assert self._bytes is not None, "the buffer is closed"
        size = math.prod(shape) * dtype.itemsize
        return self._bytes[:size].view(dtype).reshape(shape)

    def upload(self, size: int, stream: int) -> None:
        """Start a copy of the first `size` bytes to the device."""
        self._cuda.copy(self.device_address, self.host_address, size, TO_DEVICE, stream)

    def download(self, size: int, stream: int) -> None:
        """Start a copy of the first `size` bytes to the host."""
        self._cuda.copy(self.host_address, self.device_address, size, TO_HOST, stream)

    def close(self) -> None:
        """Free the device memory, and the host memory unless an array over it is in use."""
        self._bytes = None
        self._cuda.free(self.device_address)


def _free_host(cuda: Cudart, address: int) -> None:
    # Runs when an array is collected, where no caller could handle an error.
    with contextlib.suppress(GhostDeployError):
        cuda.host_free(address)
