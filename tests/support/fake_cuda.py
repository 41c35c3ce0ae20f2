"""A CUDA runtime library without a GPU, compiled from `fake_cudart.c`, and an engine on it."""

from __future__ import annotations

import atexit
import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.runtimes.tensorrt import cudart as _cudart
from tests.support.fake_tensorrt import make_fake

__all__ = ["COMPILER", "FakeCuda", "compute", "fake_cuda", "fake_machine"]

COMPILER = shutil.which("cc") or shutil.which("gcc")
KINDS = ("device", "host", "stream", "event", "graph", "executable")
_NUMPY = {
    "FLOAT": "float32",
    "HALF": "float16",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class FakeCuda:
    """The test's side of the library."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._lib: Any = ctypes.CDLL(self.path)
        self._lib.fake_enqueue.argtypes = (ctypes.c_void_p, _WORK, ctypes.c_void_p)
        self._lib.fake_enqueue.restype = None
        self._lib.fake_failed.restype = ctypes.c_char_p
        self._work: list[Any] = []  # a graph calls them again

    def reset(self) -> None:
        self._lib.fake_reset()
        self._work.clear()

    def devices(self, count: int) -> None:
        self._lib.fake_devices(count)

    def fail(self, name: str = "", nth: int = 1, code: int = 2) -> None:
        """Let the nth call from now on fail: of that function, or of any."""
        self._lib.fake_fail(name.encode(), nth, code)

    @property
    def calls(self) -> int:
        return int(self._lib.fake_calls())

    @property
    def failed(self) -> str:
        """The function whose call was made to fail last."""
        return str(self._lib.fake_failed().decode())

    @property
    def misuses(self) -> int:
        """Frees of what is not alive, copies beyond a block, and the like."""
        return int(self._lib.fake_bad())

    def alive(self) -> dict[str, int]:
        """What was taken and not freed, by kind."""
        counts = {name: self._lib.fake_live(kind) for kind, name in enumerate(KINDS)}
        return {name: count for name, count in counts.items() if count}

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        """Put a Python function on a stream: done at once, or captured."""
        called = _WORK(lambda _: work())
        self._work.append(called)
        self._lib.fake_enqueue(stream, called, None)


@functools.cache
def _compiled() -> FakeCuda:
    folder = tempfile.mkdtemp(prefix="fake-cudart-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = Path(folder, "libcudart.so.12")
    source = Path(__file__).with_name("fake_cudart.c")
    command = [str(COMPILER), "-shared", "-fPIC", "-O1", "-pthread", "-o", library, source]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return FakeCuda(library)


@contextmanager
def fake_cuda(*, reset: bool = True) -> Iterator[FakeCuda]:
    """The fake in the place of the machine's CUDA library; a skip without a C compiler.

    `reset`: forget what is alive; not where fixtures of a longer life still use it.
    """
    if COMPILER is None:
        pytest.skip("there is no C compiler to make the fake CUDA library with")
    fake = _compiled()
    if reset:
        fake.reset()
    with patch.object(_cudart, "library_files", lambda: iter((fake.path,))):
        _cudart.open_cudart.cache_clear()
        try:
            yield fake
        finally:
            _cudart.open_cudart.cache_clear()


@contextmanager
def fake_machine(
    version: str = "10.3",
    function: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    *,
    reset: bool = True,
) -> Iterator[tuple[FakeCuda, ModuleType]]:
    """The fake CUDA library and the strict fake TensorRT of that version, importable.

    Args:
        version: one of `fake_tensorrt.VERSIONS`.
        function: what its engines compute, from their first input to their first output.
        reset: as for `fake_cuda`.
    """
    module = make_fake(version)
    with fake_cuda(reset=reset) as cuda, patch.dict(sys.modules, {"tensorrt": module}):
        if function is not None:
            module.__fake__.on_execute = lambda context: cuda.enqueue(
                context._stream, lambda: compute(context, function)
            )
        yield cuda, module


def compute(context: Any, function: Callable[[NDArray[Any]], NDArray[Any]]) -> None:
    """Run `function` on the engine's device memory, as a kernel would."""
    tensors = context._engine._tensors
    arrays = []
    for tensor in (
        next(each for each in tensors if each.is_input),
        next(each for each in tensors if not each.is_input),
    ):
        shape = tuple(context.get_tensor_shape(tensor.name))
        dtype = np.dtype(_NUMPY[tensor.dtype])
        size = int(np.prod(shape)) * dtype.itemsize
        block = (ctypes.c_ubyte * size).from_address(context._addresses[tensor.name])
        arrays.append(np.frombuffer(block, dtype).reshape(shape))
    arrays[1][...] = function(arrays[0])
