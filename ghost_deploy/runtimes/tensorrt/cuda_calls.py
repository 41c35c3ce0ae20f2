"""The CUDA runtime library through ctypes, with all calls checked.

The functions have the same C signatures in libcudart 11.4 to 13; `cudaGraphInstantiateWithFlags`
replaces `cudaGraphInstantiate`, whose signature changed in 12.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any, Final

from ghost_deploy.core.errors import BackendError, DeviceError, GhostDeployError

TO_DEVICE: Final = 1
TO_HOST: Final = 2
"""`cudaMemcpyKind`: host to device, device to host."""

# From driver_types.h and driver_api.h of the toolkit, unchanged from 11 to 13.
_STREAM_NON_BLOCKING = 1
_CAPTURE_THREAD_LOCAL = 1
_INTEGRATED, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 18, 75, 76
_PROPERTIES_BYTES = 1 << 14  # more than any version's struct; the name stands first in it
_NAME_BYTES = 256

_OUT = POINTER(c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cudaDriverGetVersion": (POINTER(c_int),),
    "cudaEventCreate": (_OUT,),
    "cudaEventDestroy": (c_void_p,),
    "cudaEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cudaEventRecord": (c_void_p, c_void_p),
    "cudaEventSynchronize": (c_void_p,),
    "cudaFree": (c_void_p,),
    "cudaFreeHost": (c_void_p,),
    "cudaGetDeviceCount": (POINTER(c_int),),
    "cudaGetDeviceProperties": (c_void_p, c_int),
    "cudaGetLastError": (),
    "cudaGraphDestroy": (c_void_p,),
    "cudaGraphExecDestroy": (c_void_p,),
    "cudaGraphInstantiateWithFlags": (_OUT, c_void_p, c_ulonglong),
    "cudaGraphLaunch": (c_void_p, c_void_p),
    "cudaHostAlloc": (_OUT, c_size_t, c_uint),
    "cudaMalloc": (_OUT, c_size_t),
    "cudaMemGetInfo": (POINTER(c_size_t), POINTER(c_size_t)),
    "cudaMemcpyAsync": (c_void_p, c_void_p, c_size_t, c_int, c_void_p),
    "cudaRuntimeGetVersion": (POINTER(c_int),),
    "cudaSetDevice": (c_int,),
    "cudaStreamBeginCapture": (c_void_p, c_int),
    "cudaStreamCreateWithFlags": (_OUT, c_uint),
    "cudaStreamDestroy": (c_void_p,),
    "cudaStreamEndCapture": (c_void_p, _OUT),
    "cudaStreamSynchronize": (c_void_p,),
}

_OLD_DRIVER = 35
_FIXES = {
    2: "Free GPU memory: close other programs, or run a smaller batch or input size",
    3: "Open the model in the process that runs it: CUDA does not survive a fork",
    _OLD_DRIVER: "Install an NVIDIA driver for this CUDA version, or a TensorRT for an older CUDA; "
    "see both with: nvidia-smi. In a container, start it with: --gpus all",
    46: "Another program holds the GPU for itself: close it",
    100: "Check with: nvidia-smi. In a container, start it with: --gpus all",
    101: "Choose a GPU that nvidia-smi lists, e.g. --device cuda:0",
    222: "Update the NVIDIA driver",
    700: "Start the process again: after this error its GPU context is lost",
    719: "Start the process again: after this error its GPU context is lost",
    803: "Restart the machine, so that the driver's parts are of one version",
    804: "Install the driver that this GPU and this CUDA version need together",
}
_UNAVAILABLE = frozenset({_OLD_DRIVER, 46, 100, 101, 803, 804})
"""Errors of the machine, not of the model."""


class Cudart:
    """A loaded CUDA runtime library. Handles and addresses are integers.

    The current device is a property of the calling thread: call `set_device` first.

    Args:
        library: file name or path of the library.

    Raises:
        DeviceError: it cannot be loaded, or does not have a function.
    """

    def __init__(self, library: str) -> None:
        self.library = library
        try:
            self._lib = ctypes.CDLL(library)
            for name, arguments in _SIGNATURES.items():
                function = getattr(self._lib, name)
                function.argtypes, function.restype = arguments, c_int
            for name in ("cudaGetErrorName", "cudaGetErrorString"):
                function = getattr(self._lib, name)
                function.argtypes, function.restype = (c_int,), c_char_p
        except (OSError, AttributeError) as error:
            raise DeviceError(
                f"the CUDA runtime library {library} cannot be used",
                got=str(error),
                expected="libcudart 11.4 to 13",
                fix="Install the CUDA runtime that belongs to this TensorRT",
            ) from error

    # Devices

    def device_count(self) -> int:
        """Number of CUDA devices; at least 1."""
        return self._integer("cudaGetDeviceCount")

    def set_device(self, device: int) -> None:
        """Make `device` the current one of the calling thread."""
        self._call("cudaSetDevice", device)

    def capability(self, device: int) -> tuple[int, int]:
        """Compute capability of a device, (major, minor)."""
        return (
            self._integer("cudaDeviceGetAttribute", _CAPABILITY_MAJOR, device),
            self._integer("cudaDeviceGetAttribute", _CAPABILITY_MINOR, device),
        )

    def integrated(self, device: int) -> bool:
        """Whether the device uses the CPU's memory, as on a Jetson."""
        return bool(self._integer("cudaDeviceGetAttribute", _INTEGRATED, device))

    def device_name(self, device: int) -> str:
        """The device's name as NVIDIA gives it, e.g. `Orin`."""
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, device)
        return properties.raw[:_NAME_BYTES].partition(b"\0")[0].decode("utf-8", "replace")

    def memory(self) -> tuple[int, int]:
        """Free and total bytes of the current device; a Jetson shares them with the CPU."""
        free, total = c_size_t(), c_size_t()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def versions(self) -> tuple[int, int]:
        """CUDA version of this library and the newest that the driver supports, 12060 for 12.6.

        The driver's is 0 if no driver is loaded.
        """
        return self._integer("cudaRuntimeGetVersion"), self._integer("cudaDriverGetVersion")

    # Memory

    def malloc(self, size: int) -> int:
        """Address of `size` new bytes on the current device."""
        return self._handle("cudaMalloc", size)

    def free(self, address: int) -> None:
        """Free memory of `malloc`."""
        self._call("cudaFree", address)

    def host_alloc(self, size: int) -> int:
        """Address of `size` new bytes of page-locked host memory."""
        return self._handle("cudaHostAlloc", size, 0)

    def host_free(self, address: int) -> None:
        """Free memory of `host_alloc`."""
        self._call("cudaFreeHost", address)

    def copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        """Start a copy of `size` bytes, `TO_DEVICE` or `TO_HOST`, on a stream."""
        self._call("cudaMemcpyAsync", target, source, size, kind, stream)

    # Streams and events

    def create_stream(self) -> int:
        """A new stream that does not wait for the default one."""
        return self._handle("cudaStreamCreateWithFlags", _STREAM_NON_BLOCKING)

    def destroy_stream(self, stream: int) -> None:
        """Free a stream; the work on it is finished first."""
        self._call("cudaStreamDestroy", stream)

    def wait(self, stream: int) -> None:
        """Block until all work on a stream is done; reports its errors."""
        self._call("cudaStreamSynchronize", stream)

    def create_event(self) -> int:
        """A new event with timing."""
        return self._handle("cudaEventCreate")

    def destroy_event(self, event: int) -> None:
        """Free an event."""
        self._call("cudaEventDestroy", event)

    def record(self, event: int, stream: int) -> None:
        """Record an event on a stream."""
        self._call("cudaEventRecord", event, stream)

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds between two recorded events; waits for the second."""
        elapsed = c_float()
        self._call("cudaEventSynchronize", end)
        self._call("cudaEventElapsedTime", ctypes.byref(elapsed), start, end)
        return elapsed.value

    # Graphs

    def begin_capture(self, stream: int) -> None:
        """Record what this thread puts on a stream instead of running it."""
        self._call("cudaStreamBeginCapture", stream, _CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """The recorded graph; the stream is usable again, also when this raises."""
        return self._handle("cudaStreamEndCapture", before=(stream,))

    def instantiate(self, graph: int) -> int:
        """An executable graph."""
        return self._handle("cudaGraphInstantiateWithFlags", graph, 0)

    def launch(self, executable: int, stream: int) -> None:
        """Launch an executable graph on a stream."""
        self._call("cudaGraphLaunch", executable, stream)

    def destroy_graph(self, graph: int) -> None:
        """Free a graph of `end_capture`."""
        self._call("cudaGraphDestroy", graph)

    def destroy_executable(self, executable: int) -> None:
        """Free an executable graph."""
        self._call("cudaGraphExecDestroy", executable)

    def forget_error(self) -> None:
        """Clear the thread's last error, which CUDA would report again at a later call."""
        self._lib.cudaGetLastError()

    # Calls

    def _integer(self, name: str, *after: int) -> int:
        value = c_int()
        self._call(name, ctypes.byref(value), *after)
        return value.value

    def _handle(self, name: str, *after: Any, before: tuple[int, ...] = ()) -> int:
        """Call a function that writes a handle or an address through a pointer."""
        value = c_void_p()
        self._call(name, *before, ctypes.byref(value), *after)
        if not value.value:
            raise BackendError(f"CUDA's {name} returned no handle and no error", fix="Report this")
        return value.value

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._lib, name)(*arguments)
        if code:
            self.forget_error()
            raise self._error(name, code)

    def _error(self, name: str, code: int) -> GhostDeployError:
        title = self._lib.cudaGetErrorName(code).decode()
        text = self._lib.cudaGetErrorString(code).decode()
        kind = DeviceError if code in _UNAVAILABLE else BackendError
        return kind(
            f"CUDA's {name} failed with error {code}, {title}",
            got=text,
            fix=_FIXES.get(code, "Look the error up in NVIDIA's CUDA Runtime API documentation"),
        )
