"""A server of the KServe protocol on loopback, by HTTP and gRPC, strict and with faults to order.

It refuses what the protocol does not allow, as the strictest of the real servers do, and breaks the
next answers as `faults` says.
"""

from __future__ import annotations

import collections
import dataclasses
import http.server
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.runtimes.base import TensorSpec
from ghost_deploy.runtimes.kserve.protocol import NUMPY_OF, WIRE_OF

Wire = tuple[str, str, tuple[int, ...], bytes]
"""A tensor as it is sent: name, element type, shape, bytes."""


@dataclasses.dataclass(frozen=True)
class Hosted:
    """A model on the server; `configured` is Triton's extension of the protocol."""

    function: Callable[[dict[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    version: str = "1"
    versions: tuple[str, ...] = ("1",)
    max_batch: int = 0
    configured: bool = True


class RefusedRequestError(Exception):
    """What the server answers with status 400, or INVALID_ARGUMENT."""


def _change(tensor: Wire, fault: str) -> Wire:
    name, datatype, shape, data = tensor
    more = data + data[: len(data) // max(1, shape[0])]
    changes: dict[str, Wire] = {
        "empty": (name, datatype, (0,), b""),
        "no bytes": (name, datatype, shape, b""),
        "short": (name, datatype, shape, data[:-1]),
        "wrong name": (f"{name}x", datatype, shape, data),
        "wrong dtype": (name, "INT32", shape, data),
        "unknown dtype": (name, "BF16", shape, data[: len(data) // 2]),
        "wrong shape": (name, datatype, (1, *shape), data),
        "other batch": (
            name,
            datatype,
            (shape[0] + 1, *shape[1:]),
            more,
        ),
        "negative shape": (name, datatype, (-1, *shape[1:]), data),
        "nan": (name, datatype, shape, np.full(shape, np.nan, NUMPY_OF[datatype]).tobytes()),
    }
    return changes.get(fault, tensor)


class KServeServer:
    """Serves `models` until the `with` block ends.

    Attributes:
        models: by name; may be replaced while the server runs.
        faults: what goes wrong with the next answers, first one first: a change of `_change`, or
            `away`, `internal`, `reset`, `slow`, `truncated`, `garbage`, `list`, `contents`,
            `no outputs`, `twice`, `replaced`, `other version`, `other id`.
        asked: (transport, model, number of images) of the requests for inference.
        received: number of requests for inference, those that were refused too.
        headers: of the last request, names in lower case.
        unready: the model cannot be used for so many questions whether it is ready.
        most_bytes: of a request by HTTP.
        cut_config: the next configuration by HTTP ends early.
        slow_s: seconds that a slow answer takes.
    """

    def __init__(
        self,
        models: Mapping[str, Hosted],
        *,
        token: str = "",
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self.models = dict(models)
        self.faults: collections.deque[str] = collections.deque()
        self.asked: list[tuple[str, str, int]] = []
        self.received = 0
        self.headers: dict[str, str] = {}
        self.slow_s = 1.0
        self.most_bytes, self.cut_config = 1 << 30, False
        self.unready = 0
        self._token, self._certificate = token, certificate
        self._ports = {"http": 0, "grpc": 0}

    def url(self, transport: str, model: str) -> str:
        scheme = f"{transport}s" if self._certificate else transport
        return f"{scheme}://127.0.0.1:{self._ports[transport]}/{model}"

    def __enter__(self) -> KServeServer:
        self._start_http()
        self._start_grpc()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close both ports at once; connections break."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)
        self._grpc.stop(None).wait(10)

    def restart(self) -> None:
        """Open the same ports again."""
        self._start_http()
        self._start_grpc()

    def permits(self, headers: Mapping[str, str]) -> bool:
        self.headers = {name.lower(): value for name, value in headers.items()}
        return not self._token or self.headers.get("authorization") == f"Bearer {self._token}"

    def model_of(self, name: str, version: str) -> Hosted:
        if name not in self.models or version not in ("", *self.models[name].versions):
            raise KeyError(f"unknown model '{name}' version '{version}'")
        return self.models[name]

    def is_ready(self) -> bool:
        self.unready -= 1
        return self.unready < 0

    def infer(
        self, transport: str, name: str, version: str, tensors: list[Wire], wanted: list[str]
    ) -> tuple[str, str, list[Wire]]:
        """The fault that is due, the version that answers and its outputs."""
        self.received += 1
        model = self.model_of(name, version)
        if self.unready > 0:
            raise RefusedRequestError(f"model '{name}' has no available versions")
        feeds = {each[0]: _array(each) for each in tensors}
        if feeds.keys() != {spec.name for spec in model.inputs}:
            raise RefusedRequestError(f"inputs {sorted(feeds)}")
        for spec in model.inputs:
            if not spec.accepts(feeds[spec.name]):
                raise RefusedRequestError(f"input {spec.name} {feeds[spec.name].shape}")
        count = len(feeds[model.inputs[0].name])
        if model.max_batch and count > model.max_batch:
            raise RefusedRequestError(f"{count} images, at most {model.max_batch}")
        if wanted != [spec.name for spec in model.outputs]:
            raise RefusedRequestError(f"outputs {wanted}")
        self.asked.append((transport, name, count))
        fault = self.faults.popleft() if self.faults else ""
        if fault == "slow":
            time.sleep(self.slow_s)
        if fault == "replaced":
            parameters = {**model.parameters, "ghost_deploy.sha256": "another"}
            self.models[name] = dataclasses.replace(model, parameters=parameters)
        results = model.function(feeds)
        wires = [(k, WIRE_OF[v.dtype.name], v.shape, v.tobytes()) for k, v in results.items()]
        if fault == "no outputs":
            wires = []
        if fault == "twice":
            wires *= 2
        version = "7" if fault == "other version" else model.version
        return fault, version, [_change(wire, fault) for wire in wires]

    def _start_http(self) -> None:
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", self._ports["http"]), handler)
        self._http.daemon_threads = True
        if self._certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*self._certificate)
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._ports["http"] = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _start_grpc(self) -> None:
        import grpc
        from tritonclient.grpc import service_pb2_grpc

        self._grpc = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_servicer(self), self._grpc)
        place = f"127.0.0.1:{self._ports['grpc']}"
        if self._certificate:
            certificate, key = (path.read_bytes() for path in self._certificate)
            secrets = grpc.ssl_server_credentials([(key, certificate)])
            self._ports["grpc"] = self._grpc.add_secure_port(place, secrets)
        else:
            self._ports["grpc"] = self._grpc.add_insecure_port(place)
        self._grpc.start()


def _array(wire: Wire) -> NDArray[Any]:
    name, datatype, shape, data = wire
    if len(data) != np.prod(shape) * np.dtype(NUMPY_OF[datatype]).itemsize:
        raise RefusedRequestError(f"{len(data)} bytes of input {name} {datatype} {shape}")
    return np.frombuffer(data, NUMPY_OF[datatype]).reshape(shape)


def _described(specs: tuple[TensorSpec, ...]) -> list[dict[str, Any]]:
    return [
        {"name": each.name, "datatype": WIRE_OF.get(each.dtype, each.dtype), "shape": each.shape}
        for each in specs
    ]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # the body follows the headers in a packet of its own
    owner: KServeServer
    id = ""

    def do_GET(self) -> None:  # noqa: PLR0911
        if not self.owner.permits(self.headers):
            return self._send(401, {"error": "who are you?"})
        words = self.path.split("/")[1:]
        if words == ["v2"]:
            return self._send(200, {"name": "strict", "version": "1.2", "extensions": []})
        name, version, rest = _parts(words)
        try:
            model = self.owner.model_of(name, version)
        except KeyError as error:
            return self._send(404, {"error": str(error)})
        if rest == ["ready"]:
            return self._send(200 if self.owner.is_ready() else 400, {})
        if rest == ["config"] and model.configured and self.owner.cut_config:
            self.owner.cut_config = False
            self.close_connection = True
            return self._send_bytes(200, b"{", {}, announced=100)
        if rest == ["config"] and model.configured:
            texts = {key: {"string_value": text} for key, text in model.parameters.items()}
            return self._send(200, {"max_batch_size": model.max_batch, "parameters": texts})
        if rest:
            return self._send(404, {"error": "no such path"})
        facts = {"name": name, "versions": model.versions, "platform": "numpy"}
        tensors = {"inputs": _described(model.inputs), "outputs": _described(model.outputs)}
        return self._send(200, {**facts, **tensors})

    def do_POST(self) -> None:
        if self.owner.most_bytes < int(self.headers["Content-Length"]):
            return self._refuse_unread()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.owner.permits(self.headers):
            return self._send(401, {"error": "who are you?"})
        name, version, rest = _parts(self.path.split("/")[1:])
        length = int(self.headers["Inference-Header-Content-Length"])
        facts, data = json.loads(body[:length]), body[length:]
        self.id = facts["id"]
        tensors: list[Wire] = []
        for each in facts["inputs"]:
            size = each["parameters"]["binary_data_size"]
            tensors.append((each["name"], each["datatype"], tuple(each["shape"]), data[:size]))
            data = data[size:]
        try:
            if rest != ["infer"] or data:
                raise RefusedRequestError(f"{rest}, {len(data)} bytes too many")
            wanted = [each["name"] for each in facts["outputs"]]
            found = self.owner.infer("http", name, version, tensors, wanted)
        except KeyError as error:
            return self._send(404, {"error": str(error)})
        except RefusedRequestError as error:
            return self._send(400, {"error": str(error)})
        return self._answer(*found)

    def _refuse_unread(self) -> None:
        """As a gateway does with a body that is too large: it answers, and reads none of it."""
        self.close_connection = True
        self._send(413, {"error": "too large"})

    def _answer(self, fault: str, version: str, wires: list[Wire]) -> None:
        if fault in ("away", "internal"):
            return self._send(503 if fault == "away" else 500, {"error": "too much to do"})
        if fault == "reset":
            linger = struct.pack("ii", 1, 0)  # a closed socket then sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            self.connection.close()
            return None
        if fault == "garbage":
            return self._send_bytes(200, b"<html>not yours</html>", {})
        own = "0" if fault == "other id" else self.id
        if fault in ("list", "contents"):
            outputs = [
                {
                    "name": n,
                    "datatype": d,
                    "shape": s,
                    "data": _array((n, d, s, b)).ravel().tolist(),
                }
                for n, d, s, b in wires
            ]
            return self._send(200, {"id": own, "model_version": version, "outputs": outputs})
        outputs = [
            {"name": n, "datatype": d, "shape": s, "parameters": {"binary_data_size": len(b)}}
            for n, d, s, b in wires
        ]
        head = json.dumps({"id": own, "model_version": version, "outputs": outputs}).encode()
        body = head + b"".join(wire[3] for wire in wires)
        lengths = {"Inference-Header-Content-Length": str(len(head))}
        if fault == "truncated":
            self.close_connection = True
            return self._send_bytes(200, body[:-9], lengths, announced=len(body))
        return self._send_bytes(200, body, lengths)

    def _send(self, status: int, facts: Any) -> None:
        self._send_bytes(status, json.dumps(facts).encode(), {})

    def _send_bytes(
        self, status: int, body: bytes, headers: Mapping[str, str], announced: int | None = None
    ) -> None:
        self.send_response(status)
        length = len(body) if announced is None else announced
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


def _parts(words: list[str]) -> tuple[str, str, list[str]]:
    """Model, version and the rest of a path."""
    if words[:2] != ["v2", "models"] or len(words) < 3:
        return "", "", words
    if words[3:4] == ["versions"]:
        return words[2], words[4], words[5:]
    return words[2], "", words[3:]


def _servicer(owner: KServeServer) -> Any:
    """The gRPC service; made in a function, so that the package is imported when it is used."""
    import grpc
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc

    def checked(context: Any) -> None:
        if not owner.permits(dict(context.invocation_metadata())):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

    def model_of(request: Any, context: Any, version: str) -> Hosted:
        checked(context)
        try:
            return owner.model_of(request.name, version)
        except KeyError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            raise

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):
        def ServerMetadata(self, request: Any, context: Any) -> Any:
            checked(context)
            return pb.ServerMetadataResponse(name="strict", version="1.2")

        def ModelReady(self, request: Any, context: Any) -> Any:
            model_of(request, context, request.version)
            return pb.ModelReadyResponse(ready=owner.is_ready())

        def ModelMetadata(self, request: Any, context: Any) -> Any:
            model = model_of(request, context, request.version)
            answer = pb.ModelMetadataResponse(
                name=request.name, versions=model.versions, platform="numpy"
            )
            for field, specs in ((answer.inputs, model.inputs), (answer.outputs, model.outputs)):
                for each in _described(specs):
                    field.add(**each)
            return answer

        def ModelConfig(self, request: Any, context: Any) -> Any:
            model = model_of(request, context, request.version)
            if not model.configured:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, "no such extension")
            answer = pb.ModelConfigResponse()
            answer.config.max_batch_size = model.max_batch
            for key, text in model.parameters.items():
                answer.config.parameters[key].string_value = text
            return answer

        def ModelInfer(self, request: Any, context: Any) -> Any:
            checked(context)
            tensors = [
                (each.name, each.datatype, tuple(each.shape), data)
                for each, data in zip(request.inputs, request.raw_input_contents, strict=True)
            ]
            wanted = [each.name for each in request.outputs]
            name, asked = request.model_name, request.model_version
            try:
                fault, version, wires = owner.infer("grpc", name, asked, tensors, wanted)
            except KeyError as error:
                context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            except RefusedRequestError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            if fault in ("away", "reset", "truncated"):
                context.abort(grpc.StatusCode.UNAVAILABLE, "too much to do")
            if fault == "internal":
                context.abort(grpc.StatusCode.INTERNAL, "it broke")
            own = "0" if fault == "other id" else request.id
            answer = pb.ModelInferResponse(model_name=name, model_version=version, id=own)
            for name, datatype, shape, data in wires:
                tensor = answer.outputs.add(name=name, datatype=datatype, shape=shape)
                if fault in ("list", "contents"):
                    values = np.frombuffer(data, NUMPY_OF[datatype])
                    tensor.contents.fp32_contents.extend(values)
                elif fault != "garbage":
                    answer.raw_output_contents.append(data)
            if fault == "garbage":
                answer.raw_output_contents.extend([b"", b"", b""])
            return answer

    return Servicer()
