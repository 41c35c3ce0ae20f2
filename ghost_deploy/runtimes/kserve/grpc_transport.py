"""The KServe protocol over gRPC, with the messages of the package `tritonclient`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError, UsageError
from ghost_deploy.runtimes.inference_server import InferenceServer, default_roots
from ghost_deploy.runtimes.kserve.protocol import (
    FIX_FAILED,
    FIX_REFUSED,
    NUMPY_OF,
    WIRE_OF,
    Arrays,
    InferAnswer,
    NoAnswerError,
    RequestRefusedError,
    ServedModel,
    Transport,
    array_of,
    broken_answer,
    max_batch,
    require_host,
    require_id,
    shaped,
    tensor_spec,
    too_slow,
)
from ghost_deploy.runtimes.vendor import vendor_import

_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", (1 << 31) - 1),
    ("grpc.enable_http_proxy", 0),  # gRPC would send everything to $http_proxy
    ("grpc.enable_retries", 0),  # what is sent again is decided in one place, `resending`
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
)
_NAME = re.compile(r"[0-9a-z_.-]+")
_CONTENTS = {
    "bool": "bool_contents",
    "int8": "int_contents",
    "int16": "int_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "uint8": "uint_contents",
    "uint16": "uint_contents",
    "uint32": "uint_contents",
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
}
"""The field of an answer without raw bytes, by NumPy's element type."""


class GrpcTransport(Transport):
    """A channel of its own, which opens its connection again by itself."""

    def __init__(self, server: InferenceServer) -> None:
        """Make the channel; it connects with the first request.

        Raises:
            MissingExtraError: `tritonclient` or `grpcio` is not installed.
            UsageError: the host or a header is none for gRPC.
        """
        with vendor_import("tritonclient", "kserve"):
            try:
                import grpc
                from tritonclient.grpc import service_pb2, service_pb2_grpc
            except RuntimeError as error:  # of tritonclient, without its extra for gRPC
                raise error.__cause__ or error from error
        self._grpc, self._pb, self._number = grpc, service_pb2, 0
        self._server, self._address = server, server.address
        require_host(self._address)
        self._metadata = _metadata(server.sent_headers())
        target, options = self._address.target, list(_OPTIONS)
        if self._address.secure:
            roots = grpc.ssl_channel_credentials(root_certificates=default_roots())
            self._channel = grpc.secure_channel(target, roots, options=options)
        else:
            self._channel = grpc.insecure_channel(target, options=options)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def server(self) -> str:
        facts = self._call(self._stub.ServerMetadata, self._pb.ServerMetadataRequest())
        return f"{facts.name} {facts.version}".strip()

    def model(self) -> ServedModel:
        name, version = self._address.model, self._address.version
        asked = self._pb.ModelMetadataRequest(name=name, version=version)
        facts = self._call(self._stub.ModelMetadata, asked)
        config = self._config()
        return ServedModel(
            name=facts.name,
            versions=tuple(facts.versions),
            platform=facts.platform,
            inputs=tuple(tensor_spec(t.name, t.datatype, tuple(t.shape)) for t in facts.inputs),
            outputs=tuple(tensor_spec(t.name, t.datatype, tuple(t.shape)) for t in facts.outputs),
            parameters={k: v.string_value for k, v in config.parameters.items()} if config else {},
            max_batch=max_batch(config.max_batch_size if config else 0, str(self._address)),
            configured=config is not None,
        )

    def ready(self) -> bool:
        name, version = self._address.model, self._address.version
        try:
            asked = self._pb.ModelReadyRequest(name=name, version=version)
            return bool(self._call(self._stub.ModelReady, asked).ready)
        except BackendError:
            return False

    def infer(self, feeds: Arrays, outputs: tuple[str, ...]) -> InferAnswer:
        self._number += 1
        request = self._pb.ModelInferRequest(
            model_name=self._address.model,
            model_version=self._address.version,
            id=str(self._number),
        )
        for name, array in feeds.items():
            tensor = request.inputs.add(name=name, datatype=WIRE_OF[array.dtype.name])
            tensor.shape.extend(array.shape)
            request.raw_input_contents.append(array.tobytes())
        for name in outputs:
            request.outputs.add(name=name)
        answer = self._call(self._stub.ModelInfer, request)
        require_id(answer.id, self._number, str(self._address))
        raw = answer.raw_output_contents
        if raw and len(raw) != len(answer.outputs):
            raise broken_answer(str(self._address), f"{len(raw)} contents")
        found: dict[str, NDArray[Any]] = {}
        for place, tensor in enumerate(answer.outputs):
            shape = tuple(tensor.shape)
            if tensor.name in found:
                raise broken_answer(str(self._address), f"the output {tensor.name[:40]!r} twice")
            if raw:
                found[tensor.name] = array_of(
                    raw[place], tensor.datatype, shape, str(self._address)
                )
            else:
                found[tensor.name] = self._of_contents(tensor, shape)
        return InferAnswer(answer.model_version, found)

    def close(self) -> None:
        self._channel.close()

    def _config(self) -> Any:
        """The configuration; None where the server has no such extension."""
        name, version = self._address.model, self._address.version
        asked = self._pb.ModelConfigRequest(name=name, version=version)
        absent = (self._grpc.StatusCode.UNIMPLEMENTED,)
        answer = self._call(self._stub.ModelConfig, asked, absent)
        return None if answer is None else answer.config

    def _of_contents(self, tensor: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        dtype = NUMPY_OF.get(tensor.datatype, tensor.datatype)
        values = getattr(tensor.contents, _CONTENTS.get(dtype, ""), None)
        try:
            if values is None:
                raise ValueError(f"a tensor of {tensor.datatype} without raw bytes")
            return shaped(np.array(values, dtype), shape, str(self._address))
        except (ValueError, OverflowError) as error:
            raise broken_answer(str(self._address), str(error)) from error

    def _call(self, method: Callable[..., Any], request: Any, absent: tuple[Any, ...] = ()) -> Any:
        """The answer of a method; None for a status in `absent`.

        Raises:
            NoAnswerError: the server is away or overloaded.
            BackendError: it refuses, or the time is over.
        """
        try:
            return method(request, timeout=self._server.request_s, metadata=self._metadata)
        except self._grpc.RpcError as error:
            if error.code() in absent:
                return None
            raise self._failure(error) from error

    def _failure(self, error: Any) -> Exception:
        codes, code = self._grpc.StatusCode, error.code()
        details = " ".join(str(error.details()).split())[:300]
        if code in (codes.UNAVAILABLE, codes.RESOURCE_EXHAUSTED, codes.ABORTED, codes.CANCELLED):
            return NoAnswerError(f"{code.name}: {details}")
        if code is codes.DEADLINE_EXCEEDED:
            return too_slow(str(self._address), self._server.request_s)
        refusals = (codes.INVALID_ARGUMENT, codes.NOT_FOUND, codes.FAILED_PRECONDITION)
        kind = RequestRefusedError if code in refusals else BackendError
        return kind(
            f"{self._address} refuses the request",
            got=f"{code.name}: {details}",
            fix=FIX_FAILED if code in (codes.INTERNAL, codes.UNKNOWN) else FIX_REFUSED,
        )


def _metadata(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Headers as gRPC sends them.

    Raises:
        UsageError: gRPC has no such name, or one with `-bin` at its end, for binary values.
    """
    found = [(name.lower(), value) for name, value in headers.items()]
    for name, _ in found:
        if not _NAME.fullmatch(name) or name.endswith("-bin"):
            raise UsageError(
                f"the header {name!r} cannot be sent over gRPC",
                expected="a name of letters, digits, '_', '-' and '.', without -bin at its end",
                fix="Rename it, or use the server's port for HTTP",
            )
    return found
