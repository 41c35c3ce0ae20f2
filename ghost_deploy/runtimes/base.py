"""The seam between ghost-deploy and any inference backend: named tensors in, named tensors out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, ShapeError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Device", "Probe", "Runtime", "RuntimeInfo", "RuntimeOptions", "TensorSpec"]

_DEVICE = re.compile(r"cpu|gpu|npu|cuda(:\d+)?|dla:\d+")
_PRECISIONS = ("", "fp32", "fp16", "bf16", "int8")


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and element type of a graph input or output.

    `shape` holds -1 where any size is accepted. `dtype` is a NumPy name, e.g. `float32`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    def accepts(self, array: NDArray[Any]) -> bool:
        """Whether `array` has this dtype and a shape that fits."""
        return (
            array.dtype == np.dtype(self.dtype)
            and array.ndim == len(self.shape)
            and all(want in (-1, have) for want, have in zip(self.shape, array.shape, strict=True))
        )


@dataclass(frozen=True)
class RuntimeOptions:
    """What the user asked for.

    Attributes:
        device: `cpu`, `cuda`, `cuda:N`, `gpu`, `npu` or `dla:N`.
        precision: what the run is to be called: the artifact's `fp32`, `fp16` or `int8`, or
            `bf16` for an fp32 file computed in bfloat16. An empty string means the file's own,
            with bfloat16 off.
        threads: CPU threads; 0 lets the backend choose.
        hint: `latency` tunes for one request at a time, `throughput` for several models or
            streams that share the cores.
        allow_fallback: accept another device or precision than the one asked for.
        cache_dir: where compiled models may be kept between runs; None keeps none.
        any_form: run an int8 graph that was made for another runtime, to judge its accuracy;
            its speed here says nothing.

    Raises:
        UsageError: a device, precision, hint or thread count that does not exist.
    """

    device: str = "cpu"
    precision: str = ""
    threads: int = 0
    hint: Literal["latency", "throughput"] = "latency"
    allow_fallback: bool = False
    cache_dir: Path | None = None
    any_form: bool = False

    def __post_init__(self) -> None:
        checks = (
            (
                _DEVICE.fullmatch(self.device),
                "device",
                self.device,
                "cpu, cuda[:N], gpu, npu, dla:N",
            ),
            (
                self.precision in _PRECISIONS,
                "precision",
                self.precision,
                ", ".join(_PRECISIONS[1:]),
            ),
            (self.hint in ("latency", "throughput"), "hint", self.hint, "latency, throughput"),
            (self.threads >= 0, "number of threads", self.threads, "0 or more"),
        )
        for ok, what, got, expected in checks:
            if not ok:
                raise UsageError(
                    f"there is no such {what}", got=got, expected=expected, fix="Name one of those"
                )

    @property
    def device_kind(self) -> str:
        """The device without its number, e.g. `cuda`."""
        return self.device.partition(":")[0]

    @property
    def device_index(self) -> int:
        """The number of the device; 0 where none was given."""
        return int(self.device.partition(":")[2] or 0)


@dataclass(frozen=True)
class RuntimeInfo:
    """What was obtained: read back from the backend, not copied from the options.

    Attributes:
        runtime: name in the runtimes table, e.g. `ort`.
        version: of the vendor's package.
        device: the device obtained, in the words of `RuntimeOptions.device`.
        precision: the precision label of the run, as in `RuntimeOptions.precision`; empty when
            a bare file was opened without saying which it is.
        compute: element type of the floating-point arithmetic where the backend tells, e.g.
            `f32`. An fp16 file on a CPU that has no fp16 arithmetic is stored in fp16, computed
            in `f32`.
        threads: CPU threads in use; 0 when the backend does not tell.
        notes: anything a user should know, e.g. an allowed fallback.
        streams: runs that are computed side by side, each started by a runtime of its own, see
            `Runtime.fork`.
    """

    runtime: str
    version: str
    device: str
    precision: str
    compute: str = ""
    threads: int = 0
    notes: tuple[str, ...] = ()
    streams: int = 1


@dataclass(frozen=True)
class Device:
    """A device that a backend can use on this machine: `name` as in `RuntimeOptions.device`."""

    name: str
    description: str = ""
    precisions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Probe:
    """What `doctor` tells of a backend: whether it is installed, its version, its devices.

    `problem` says why it cannot be used, `fix` the command that would mend that.
    """

    runtime: str
    installed: bool
    version: str = ""
    devices: tuple[Device, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    fix: str = ""


class Runtime(ABC):
    """A loaded model. Host NumPy arrays in and out; it knows no images, boxes or classes.

    Ownership: feeds stay the caller's and are not changed. The arrays that `run` returns belong
    to the runtime and are valid until the next `run` or `close`; copy what you keep.

    One thread at a time may call `run`. Use it as a context manager, or call `close`.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    info: RuntimeInfo
    _closed: bool = False

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Compute all outputs.

        Args:
            feeds: one array for each of `inputs`, by name.

        Returns:
            One array for each of `outputs`, by name, in that order.

        Raises:
            ShapeError: a feed is missing, unknown, or of the wrong shape or dtype.
            BackendError: the backend failed, or the runtime is closed.
        """
        self._check_open()
        self._check(feeds)
        return self._run(feeds)

    def metadata(self) -> dict[str, str]:
        """The text that travels inside the model file, by key; empty when it carries none.

        Raises:
            BackendError: the file cannot be read any more, or the runtime is closed.
        """
        self._check_open()
        return self._metadata()

    def fork(self) -> Runtime | None:
        """Another runtime over the same loaded model, with buffers of its own, for one more thread.

        None where the backend cannot have two. Close it like any other; the model stays loaded
        until the last of them is closed.

        Raises:
            BackendError: the backend failed, or the runtime is closed.
        """
        self._check_open()
        return self._fork()

    def close(self) -> None:
        """Free what the backend holds. Calling it again does nothing."""
        if not self._closed:
            self._closed = True
            self._close()

    @abstractmethod
    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """`run` after the feeds were checked."""

    @abstractmethod
    def _close(self) -> None:
        """Free what the backend holds; called once."""

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
