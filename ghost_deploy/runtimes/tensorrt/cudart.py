"""Find the CUDA runtime library of this machine, and its GPUs."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from ghost_deploy.core.errors import DeviceError, GhostDeployError
from ghost_deploy.runtimes.tensorrt.cuda_calls import Cudart
from ghost_deploy.runtimes.tensorrt.fingerprint import GpuInfo

_SONAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
_TOOLKIT_FOLDERS = ("lib64", "targets/aarch64-linux/lib", "targets/sbsa-linux/lib", "lib")
_WHEEL_FOLDERS = ("cu13/lib", "cuda_runtime/lib")
_MEMINFO = Path("/proc/meminfo")


def library_files() -> Iterator[str]:
    """Candidates for libcudart in order of preference: loader path, toolkit, NVIDIA's wheels."""
    yield from _SONAMES
    homes = [os.environ.get(name, "") for name in ("CUDA_HOME", "CUDA_PATH")]
    folders = [
        Path(home, folder)
        for home in (*filter(None, homes), "/usr/local/cuda")
        for folder in _TOOLKIT_FOLDERS
    ]
    found = importlib.util.find_spec("nvidia")
    packages = (found.submodule_search_locations or ()) if found else ()
    folders += [Path(package, folder) for package in packages for folder in _WHEEL_FOLDERS]
    for folder in folders:
        for name in _SONAMES:
            if (folder / name).is_file():
                yield str(folder / name)


@functools.cache
def open_cudart() -> Cudart:
    """The first CUDA runtime library that works with this machine's driver.

    A newer library rejects an older driver (error 35) that an older library supports.

    Raises:
        DeviceError: no library, no driver, no GPU, or the driver is too old for all libraries.
        BackendError: CUDA fails in another way.
    """
    unloadable: list[str] = []
    problem: GhostDeployError | None = None
    for file in library_files():
        try:
            library = Cudart(file)
        except DeviceError as error:
            unloadable.append(str(error.got))
            continue
        try:
            library.device_count()
        except GhostDeployError as error:
            problem = error
        else:
            return library
    raise problem or DeviceError(
        "no CUDA runtime library can be loaded",
        got="; ".join(unloadable),
        expected=", ".join(_SONAMES),
        fix="Install the CUDA runtime that belongs to this TensorRT, or set CUDA_HOME to it",
    )


def describe_gpu(index: int = 0) -> GpuInfo:
    """Properties of a GPU; makes it the current device of the calling thread.

    Raises:
        DeviceError: no library, driver or such device.
        BackendError: CUDA fails in another way.
    """
    cuda = open_cudart()
    cuda.set_device(index)
    free, total = cuda.memory()
    integrated = cuda.integrated(index)
    if integrated:
        # CUDA reports MemFree there, without the page cache: close to nothing after copying files.
        free = min(max(free, _available_bytes()), total)
    version, _ = cuda.versions()
    return GpuInfo(
        name=cuda.device_name(index),
        compute_capability="{}.{}".format(*cuda.capability(index)),
        cuda=f"{version // 1000}.{version % 1000 // 10}",
        free_bytes=free,
        total_bytes=total,
        integrated=integrated,
    )


def _available_bytes() -> int:
    """Memory available to a new program, page cache included; 0 if unknown."""
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return 0
    found = (line.split() for line in lines if line.startswith("MemAvailable:"))
    return next((int(words[1]) << 10 for words in found), 0)
