"""What both transports of the KServe protocol have in common.

The protocol: https://github.com/kserve/open-inference-protocol; the configuration of a model is
an extension of Triton's that other servers lack.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, UsageError
from ghost_deploy.core.printable import printable
from ghost_deploy.runtimes.base import TensorSpec
from ghost_deploy.runtimes.inference_server import ServerAddress

NUMPY_OF = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
}
"""Element types of the protocol, and NumPy's; `BYTES` has no counterpart that a model takes."""

WIRE_OF = {numpy: wire for wire, numpy in NUMPY_OF.items()}

FIX_REFUSED = "Check the name of the model, its version and the token"
FIX_FAILED = "Look into the log of the server: the model fails there"

Arrays = Mapping[str, NDArray[Any]]


class NoAnswerError(Exception):
    """The server gave no answer to a request, which may be sent again: it is away or overloaded."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))  # it is logged too


class ServerAwayError(BackendError):
    """The server gave no answer for too long: that says nothing about the model on it."""


class RequestRefusedError(BackendError):
    """The server refuses a request: wrong tensors, an unknown model, or one that is not ready."""


@dataclass(frozen=True)
class ServedModel:
    """What a server says of a model.

    Attributes:
        name: of the model.
        versions: that are ready; empty where the server does not say.
        platform: what runs it, in the server's words.
        inputs, outputs: its tensors, with the batch axis.
        parameters: texts of its configuration; empty where the server has none.
        max_batch: most images of a request; 0 where the model or the server sets no limit.
        configured: the server tells the configuration.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    max_batch: int = 0
    configured: bool = False


@dataclass(frozen=True)
class InferAnswer:
    """What a request returned: the version that computed it, empty if not said, and the outputs."""

    version: str
    outputs: dict[str, NDArray[Any]]


class Transport(ABC):
    """A connection to one model on a server. One thread at a time may use it.

    All methods raise `NoAnswerError` where the server is away or overloaded,
    `RequestRefusedError` where it refuses, and BackendError where it refuses the token, is too
    slow or breaks the protocol.
    """

    @abstractmethod
    def server(self) -> str:
        """Name and version of the server."""

    @abstractmethod
    def model(self) -> ServedModel:
        """What the server says of the model now."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether the model can take requests."""

    @abstractmethod
    def infer(self, feeds: Arrays, outputs: tuple[str, ...]) -> InferAnswer:
        """Run the model.

        Args:
            feeds: input arrays, by name, of element types in `WIRE_OF`.
            outputs: names of the outputs that are wanted.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


def broken_answer(where: str, got: object) -> BackendError:
    """The error for an answer that is none of the protocol."""
    return BackendError(
        f"{where} does not answer as the KServe protocol says",
        got=got,
        fix="Check the address and its port: HTTP and gRPC have ports of their own",
    )


def require_host(address: ServerAddress) -> None:
    """Require a host that can be looked up: no empty label, at most 63 characters in each.

    Raises:
        UsageError: it is none.
    """
    host = address.host
    try:
        host.encode("idna")
        plain = host.isprintable() and " " not in host
    except UnicodeError:
        plain = False
    if not plain:
        raise UsageError(
            "this is no name of a host",
            got=ascii(host[:80]),
            expected="labels of 1 to 63 characters with dots between, or an IP address",
            fix="Correct the address of the server",
        )


def max_batch(value: Any, where: str) -> int:
    """The most images of a request, as a configuration says.

    Raises:
        BackendError: it is no number, or a negative one.
    """
    try:
        limit = int(value)
    except (TypeError, ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise broken_answer(where, f"max_batch_size: {str(value)[:40]}")
    return limit


def require_id(got: str, asked: int, where: str) -> None:
    """Require that an answer is that of the request; a server need not repeat its number.

    Raises:
        BackendError: it is the answer to another request.
    """
    if got not in ("", str(asked)):
        raise broken_answer(where, f"the answer to request {got[:40]!r} for request {asked}")


def too_slow(where: str, seconds: float) -> ServerAwayError:
    """The error for an answer that did not come in time."""
    return ServerAwayError(
        f"{where} does not answer",
        got=f"nothing within {seconds:g} s",
        fix="Look at the server's load, or give it more time: --request-timeout S "
        "(InferenceServer.request_s)",
    )


def array_of(
    data: bytes | memoryview, datatype: str, shape: tuple[int, ...], where: str
) -> NDArray[Any]:
    """An array of the raw bytes of a tensor, in little-endian order; it is read-only.

    Raises:
        BackendError: an unknown element type, or another number of bytes.
    """
    dtype = np.dtype(NUMPY_OF.get(datatype, "V1")).newbyteorder("<")
    if datatype not in NUMPY_OF or any(side < 0 for side in shape):
        raise broken_answer(where, f"a tensor of {datatype} {shape}")
    if len(data) != prod(shape) * dtype.itemsize:
        raise BackendError(
            f"{where} returned a damaged tensor",
            got=f"{len(data)} bytes",
            expected=f"{prod(shape) * dtype.itemsize} for {datatype} {shape}",
            fix=numpy_hint(len(data)),
        )
    array = shaped(np.frombuffer(data, dtype), shape, where)
    return array.astype(NUMPY_OF[datatype], copy=False)


def shaped(array: NDArray[Any], shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """The array with the shape that a server says.

    Raises:
        BackendError: it has another number of elements, or no array has this shape.
    """
    try:
        if min(shape, default=0) < 0:
            raise ValueError(f"the shape {shape}")
        return array.reshape(shape)
    except ValueError as error:
        raise broken_answer(where, str(error)[:200]) from error


def numpy_hint(size: int) -> str:
    """What to do about a tensor of that many bytes or elements that should have others."""
    if size == 0:
        return (
            "Look at the server: Triton's Python backend returns empty tensors where its Python "
            "has NumPy 2 (pip install 'numpy<2' there)"
        )
    return "Look at the server: its model is another one than its description says"


def tensor_spec(name: str, datatype: str, shape: tuple[int, ...]) -> TensorSpec:
    """The description of a tensor; an element type that NumPy lacks keeps its name."""
    sizes = tuple(size if size >= 0 else -1 for size in shape)
    return TensorSpec(name, sizes, NUMPY_OF.get(datatype, datatype))
