"""The seam between ghost-deploy and any inference backend: named tensors in, named tensors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.errors import BackendError, ShapeError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Device", "Probe", "Runtime", "RuntimeInfo", "RuntimeOptions", "TensorSpec"]


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
        precision: arithmetic that the graph is to be computed in: `fp32`, `fp16`, `bf16`, `int8`;
            an empty string means the precision of the file.
        threads: CPU threads; 0 lets the backend choose.
        hint: whether the backend is tuned for one request at a time or for many in flight.
        allow_fallback: accept another device or precision than the one asked for.
        cache_dir: where compiled models may be kept between runs; None keeps none.
    """

    device: str = "cpu"
    precision: str = ""
    threads: int = 0
    hint: Literal["latency", "throughput"] = "latency"
    allow_fallback: bool = False
    cache_dir: Path | None = None


@dataclass(frozen=True)
class RuntimeInfo:
    """What was obtained: read back from the backend, not copied from the options.

    Attributes:
        runtime: name in the runtimes table, e.g. `ort`.
        version: of the vendor's package.
        device: the device obtained, in the words of `RuntimeOptions.device`.
        precision: the precision label of the run: the file's, or `bf16`.
        compute: element type of the arithmetic where the backend tells, e.g. `f32`.
        threads: CPU threads in use; 0 when the backend does not tell.
        notes: anything a user should know, e.g. an allowed fallback.
    """

    runtime: str
    version: str
    device: str
    precision: str
    compute: str = ""
    threads: int = 0
    notes: tuple[str, ...] = ()


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
        if self._closed:
            raise BackendError(
                f"the {self.info.runtime} runtime is closed",
                fix="Open it again: a closed runtime cannot run",
            )
        self._check(feeds)
        return self._run(feeds)

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
