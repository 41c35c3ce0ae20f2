"""The interface of all inference backends: named tensors in, named tensors out."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import BackendError, GhostDeployError, ShapeError, UsageError
from ghost_deploy.core.lookup import near_name

if TYPE_CHECKING:
    from ghost_deploy.runtimes.inference_server import InferenceServer

_DEVICE = re.compile(r"cpu|gpu|npu(:\d+)?|cuda(:\d+)?|dla:\d+")
_PRECISIONS = ("", "fp32", "fp16", "bf16", "int8")
_MOST_THREADS = 64  # on a small machine: with a thousand a run of ONNX Runtime takes minutes


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and element type of a graph input or output.

    `shape` is -1 on an axis of any size. `dtype` is a NumPy name, e.g. `float32`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def accepts(self, array: NDArray[Any]) -> bool:
        """Whether `array` has this dtype and a matching shape."""
        return (
            array.dtype == np.dtype(self.dtype)
            and array.ndim == len(self.shape)
            and all(want in (-1, have) for want, have in zip(self.shape, array.shape, strict=True))
        )


Hint: TypeAlias = Literal["latency", "throughput", "once"]
"""What a model is opened for, see `RuntimeOptions`."""


@dataclass(frozen=True)
class RuntimeOptions:
    """What the user requests.

    Attributes:
        device: `cpu`, `cuda`, `cuda:N`, `gpu`, `npu`, `npu:N` (a core of it) or `dla:N`.
        precision: precision of the run: the artifact's `fp32`, `fp16` or `int8`, or `bf16` for an
            fp32 file computed in bfloat16. Empty: the precision of the file, without bfloat16.
        threads: CPU threads, of an NPU the cores that share a run; 0 lets the backend choose.
        hint: `latency` optimizes for one request at a time, `throughput` for several models or
            streams that share the cores, `once` for a single run: `latency` without threads that
            spin while they wait, which costs more than it gains before the first result.
        allow_fallback: accept another device or precision than the requested one.
        cache_dir: folder for compiled models; None disables the cache.
        any_form: run an int8 graph built for another runtime, to measure its accuracy; its
            speed is not meaningful.
        pixel_input: take uint8 images, (B, H, W, 3) BGR, where the file rounds its input to the 256
            levels of a pixel: equal results, sooner. `RuntimeInfo.pixel_input` is the answer.
        server: the model on a server that the runtime `kserve` runs.
        sha256: of files of the model by absolute path, where the caller has just verified them.

    Raises:
        UsageError: unknown device, precision or hint, or a thread count that is negative or huge.
    """

    device: str = "cpu"
    precision: str = ""
    threads: int = 0
    hint: Hint = "latency"
    allow_fallback: bool = False
    cache_dir: Path | None = None
    any_form: bool = False
    pixel_input: bool = False
    server: InferenceServer | None = None
    sha256: Mapping[Path, str] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        most = max(_MOST_THREADS, 2 * (os.cpu_count() or 1))
        checks = (
            (
                _DEVICE.fullmatch(self.device),
                "device",
                self.device,
                "cpu, cuda[:N], gpu, npu[:N], dla:N",
            ),
            (
                self.precision in _PRECISIONS,
                "precision",
                self.precision,
                ", ".join(_PRECISIONS[1:]),
            ),
            (self.hint in get_args(Hint), "hint", self.hint, ", ".join(get_args(Hint))),
            (0 <= self.threads <= most, "number of threads", self.threads, f"0 to {most}"),
        )
        for ok, what, got, expected in checks:
            if not ok:
                near = near_name(str(got), expected.replace("[:N]", "").split(", "))
                fix = f"Did you mean {near}?" if near else "Name one of those"
                raise UsageError(f"there is no such {what}", got=got, expected=expected, fix=fix)

    @property
    def device_kind(self) -> str:
        """The device without its number, e.g. `cuda`."""
        return self.device.partition(":")[0]

    @property
    def device_index(self) -> int:
        """The index of the device; 0 by default."""
        return int(self.device.partition(":")[2] or 0)


@dataclass(frozen=True)
class RuntimeInfo:
    """What was obtained, read back from the backend and not copied from the options.

    Attributes:
        runtime: name in the runtimes table, e.g. `ort`.
        version: of the vendor package; of a server its name and version, and those of its model.
        device: the device obtained, named as in `RuntimeOptions.device`; `server` where a server
            decides.
        precision: precision of the run, as in `RuntimeOptions.precision`; empty for a single
            file opened without one.
        compute: element type of the floating-point arithmetic where the backend reports it, e.g.
            `f32` for an fp16 file on a CPU without fp16 arithmetic.
        threads: CPU threads in use; 0 when the backend does not report them.
        notes: remarks for the user, e.g. an allowed fallback.
        simulated: a simulator of the vendor computes, not the device itself.
        streams: recommended number of parallel runs, each with its own runtime, see
            `Runtime.fork`.
        queued: runs that may be started besides: the backend keeps them waiting itself, and begins
            one as soon as a stream is free.
        pixel_input: the input is uint8 images, see `RuntimeOptions.pixel_input`.
    """

    runtime: str
    version: str
    device: str
    precision: str
    compute: str = ""
    threads: int = 0
    notes: tuple[str, ...] = ()
    streams: int = 1
    simulated: bool = False
    queued: int = 0
    pixel_input: bool = False


@dataclass(frozen=True)
class Device:
    """A device that a backend can use on this machine: `name` as in `RuntimeOptions.device`."""

    name: str
    description: str = ""
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe:
    """What `doctor` reports of a backend: whether it is installed, its version, its devices.

    `problem` says why it cannot be used, `fix` names the command that solves this.
    """

    runtime: str
    installed: bool
    version: str = ""
    devices: tuple[Device, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    fix: str = ""

    @classmethod
    def failed(cls, runtime: str, package: str, error: GhostDeployError) -> Probe:
        """Return the report on a backend that cannot be used.

        Args:
            runtime: name of the backend.
            package: the vendor's Python package.
            error: why it cannot be used.
        """
        problem = str(error.got or error.what)
        return cls(runtime, find_spec(package) is not None, problem=problem, fix=error.fix)


class Runtime(Closing, ABC):
    """A loaded model. Takes and returns NumPy arrays; has no notion of images, boxes or classes.

    Ownership: feeds are not modified. The arrays that `run` returns belong to the runtime and are
    valid until the next `run` or `close`; copy what you keep.

    Not thread-safe: one thread at a time may call `run`. Use it as a context manager, or call
    `close`.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    info: RuntimeInfo
    _closed: bool = False

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute all outputs.

        Args:
            feeds: an array for each of `inputs`, by name, with the shape and dtype of its
                `TensorSpec`.

        Returns:
            An array for each of `outputs`, by name, in that order.

        Raises:
            ShapeError: a feed is missing, unknown, or of the wrong shape or dtype.
            BackendError: the backend failed, or the runtime is closed.
        """
        self._check_open()
        self._check(feeds)
        return self._run(feeds)

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the model file, by key.

        Raises:
            BackendError: the file is no longer readable, or the runtime is closed.
        """
        self._check_open()
        return self._metadata()

    def fork(self) -> Runtime | None:
        """Return a second runtime of the same loaded model, with its own buffers, for one thread.

        None where the backend does not support this. Close it like any other runtime; the model
        stays loaded until the last one is closed.

        Raises:
            BackendError: the backend failed, or the runtime is closed.
        """
        self._check_open()
        return self._fork()

    def hurry(self) -> None:
        """Give up what waits for a server that is away; from any thread, before `close`."""

    def close(self) -> None:
        """Free the resources of the backend; calling it again does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    @abstractmethod
    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """`run` with checked feeds."""

    @abstractmethod
    def _close(self) -> None:
        """Free the resources of the backend; called once."""

    def _fork(self) -> Runtime | None:
        """`fork` of an open runtime."""
        return None

    def _metadata(self) -> dict[str, str]:
        """`metadata` of an open runtime."""
        return {}

    def _check_open(self) -> None:
        if self._closed:
            raise BackendError(
                f"the {self.info.runtime} runtime is closed",
                fix="Open it again: a closed runtime cannot run",
            )

    def _check(self, feeds: Mapping[str, NDArray[Any]]) -> None:
        names = {spec.name for spec in self.inputs}
        if names != feeds.keys():
            raise ShapeError(
                "wrong input names",
                got=sorted(feeds),
                expected=sorted(names),
                fix="Feed exactly the model's inputs",
            )
        for spec in self.inputs:
            array = feeds[spec.name]
            if not spec.accepts(array):
                raise ShapeError(
                    f"input {spec.name!r} does not fit",
                    got=f"{array.dtype} {array.shape}",
                    expected=f"{spec.dtype} {spec.shape}",
                    fix="Resize the input, or export the model again with --dynamic",
                )
