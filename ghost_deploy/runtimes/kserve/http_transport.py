"""The KServe protocol over HTTP, with binary tensors, by the standard library alone.

No proxy is used, whatever the environment says, and no redirect is followed: both would send
images and tokens to another server than the one that was named.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError
from ghost_deploy.runtimes.inference_server import InferenceServer
from ghost_deploy.runtimes.kserve.http_documents import (
    output_of,
    reason_of,
    tensors_of,
    texts_of,
    understood,
    versions_of,
)
from ghost_deploy.runtimes.kserve.protocol import (
    FIX_FAILED,
    FIX_REFUSED,
    WIRE_OF,
    Arrays,
    InferAnswer,
    NoAnswerError,
    RequestRefusedError,
    ServedModel,
    Transport,
    broken_answer,
    max_batch,
    require_host,
    require_id,
    too_slow,
)
from ghost_deploy.runtimes.kserve.timed_response import TimedResponse, limit_time

_LENGTH = "Inference-Header-Content-Length"
_AWAY = {429, 502, 503, 504}
"""Status codes of a server, or of a gateway before it, that is away or overloaded."""
_REFUSALS = {400, 404, 409, 422}
_REFUSED = {
    401: "the token is refused or missing",
    403: "the token may not do this",
    413: "the request is larger than the server, or a gateway before it, allows",
}
_MAX_ANSWER = 1 << 30
_CHUNK = 1 << 20
_PLAIN = "/%:@!$&'()*+,;=~"
"""Characters that stay in a path."""


class HttpTransport(Transport):
    """One connection that is kept open, and opened again when the server closed it."""

    def __init__(self, server: InferenceServer) -> None:
        self._server, self._address = server, server.address
        require_host(self._address)
        self._headers = server.sent_headers()
        self._path, self._number = self._address.model_path, 0
        context = ssl.create_default_context() if self._address.secure else None
        host, port = self._address.host, self._address.port
        self._connection = (
            http.client.HTTPSConnection(host, port, timeout=server.connect_s, context=context)
            if context
            else http.client.HTTPConnection(host, port, timeout=server.connect_s)
        )

    def server(self) -> str:
        facts = self._json(f"{self._address.prefix}/v2")
        with understood(str(self._address)):
            return " ".join(str(facts.get(key, "")) for key in ("name", "version")).strip()

    def model(self) -> ServedModel:
        facts = self._json(self._path)
        config = self._json(f"{self._path}/config", optional=True)
        where = str(self._address)
        with understood(where):
            return ServedModel(
                name=str(facts.get("name", "")),
                versions=versions_of(facts.get("versions") or []),
                platform=str(facts.get("platform", "")),
                inputs=tensors_of(facts.get("inputs")),
                outputs=tensors_of(facts.get("outputs")),
                parameters=texts_of(config.get("parameters")),
                max_batch=max_batch(config.get("max_batch_size") or 0, where),
                configured=bool(config),
            )

    def ready(self) -> bool:
        status, _, _ = self._exchange("GET", f"{self._path}/ready")
        return status == 200

    def infer(self, feeds: Arrays, outputs: tuple[str, ...]) -> InferAnswer:
        arrays = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        self._number += 1
        head = json.dumps(
            {
                "id": str(self._number),  # KServe's own server fails without one
                "inputs": [
                    {
                        "name": name,
                        "shape": list(array.shape),
                        "datatype": WIRE_OF[array.dtype.name],
                        "parameters": {"binary_data_size": array.nbytes},
                    }
                    for name, array in arrays.items()
                ],
                "outputs": [
                    {"name": name, "parameters": {"binary_data": True}} for name in outputs
                ],
            }
        ).encode()
        headers = {_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        parts = [memoryview(head), *(array.data.cast("B") for array in arrays.values())]
        status, answered, body = self._exchange("POST", f"{self._path}/infer", headers, parts)
        self._require_ok(status, body)
        try:
            return self._answer(answered.get(_LENGTH), body)
        except NoAnswerError as error:
            if "Content-Length" in answered or "Transfer-Encoding" in answered:  # it is whole
                raise broken_answer(str(self._address), error) from error
            raise

    def close(self) -> None:
        self._connection.close()

    def _answer(self, header_length: str | None, body: bytes) -> InferAnswer:
        where = str(self._address)
        with understood(where):
            length = len(body) if header_length is None else int(header_length)
            if not 0 <= length <= len(body):
                raise broken_answer(where, f"{_LENGTH}: {length} of {len(body)} bytes")
            facts = json.loads(body[:length])
            require_id(str(facts.get("id") or ""), self._number, where)
            rest = memoryview(body)[length:]
            outputs: dict[str, NDArray[Any]] = {}
            for each in facts["outputs"]:
                name = str(each["name"])
                if name in outputs:
                    raise broken_answer(where, f"the output {name[:40]!r} twice")
                outputs[name], rest = output_of(each, rest, where)
            if rest:
                raise broken_answer(where, f"{len(rest)} bytes behind the tensors")
            return InferAnswer(str(facts.get("model_version") or ""), outputs)

    def _json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        """The JSON document of a path; with `optional`, empty where there is none."""
        status, _, body = self._exchange("GET", path)
        # 405 and 501 too: what servers say to a method or path that they do not have.
        if optional and status in (400, 404, 405, 501):
            return {}
        self._require_ok(status, body)
        try:
            facts = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise broken_answer(str(self._address), "no JSON") from error
        if not isinstance(facts, dict):
            raise broken_answer(str(self._address), f"a JSON {type(facts).__name__}")
        return facts

    def _require_ok(self, status: int, body: bytes) -> None:
        if status == 200:
            return
        reason = _REFUSED.get(status) or reason_of(body)
        if status in _AWAY:
            raise NoAnswerError(f"status {status}: {reason}")
        kind = RequestRefusedError if status in _REFUSALS else BackendError
        raise kind(
            f"{self._address} refuses the request",
            got=f"status {status}: {reason}",
            fix=FIX_REFUSED if status < 500 else FIX_FAILED,
        )

    def _exchange(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        parts: Sequence[memoryview] = (),
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Send a request and read the whole answer: its status, headers and body.

        Raises:
            NoAnswerError: there is no connection, or it broke.
            BackendError: the time is over, or the certificate is not valid.
        """
        sent = {**self._headers, **(headers or {}), "Accept": "*/*"}
        if parts:
            sent["Content-Length"] = str(sum(len(part) for part in parts))
        try:
            self._connect()
            deadline = time.monotonic() + self._server.request_s
            timed = functools.partial(TimedResponse, deadline=deadline)
            self._connection.response_class = cast(type[TimedResponse], timed)
            # A gateway that refuses a request may close before all was sent: its answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                body_sent = self._sent(parts, deadline) if parts else None
                self._connection.request(method, quote(path, safe=_PLAIN), body_sent, sent)
            with cast(TimedResponse, self._connection.getresponse()) as response:
                body = b"".join(self._pieces(response))
                if response.will_close:
                    self.close()
                return response.status, response.headers, body
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._failure(error) from error
        except BaseException:
            self.close()  # what is left of the answer must not be taken for the next one
            raise

    def _connect(self) -> None:
        if self._connection.sock is None:
            self._connection.timeout = self._server.connect_s
            try:
                self._connection.connect()
            except TimeoutError as error:
                raise NoAnswerError(f"no connection within {self._server.connect_s:g} s") from error
        self._connection.sock.settimeout(self._server.request_s)

    def _sent(self, parts: Sequence[memoryview], deadline: float) -> Iterator[memoryview]:
        """The body of a request, in pieces that each end before the deadline."""
        for part in parts:
            for start in range(0, len(part), _CHUNK):
                limit_time(self._connection.sock, deadline)
                yield part[start : start + _CHUNK]

    def _pieces(self, response: TimedResponse) -> Iterator[bytes]:
        """The body; its end is checked against the length that was announced."""
        total = 0
        if unclear := response.unclear_length():
            raise broken_answer(str(self._address), unclear)
        while piece := response.read1(_CHUNK):
            total += len(piece)
            if total > _MAX_ANSWER:
                raise broken_answer(str(self._address), f"more than {_MAX_ANSWER} bytes")
            yield piece
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)

    def _failure(self, error: Exception) -> Exception:
        if isinstance(error, TimeoutError):
            return too_slow(str(self._address), self._server.request_s)
        if isinstance(error, ssl.SSLError):
            return BackendError(
                f"there is no encrypted connection to {self._address}",
                got=str(error.reason or error),
                fix="Check the port; $SSL_CERT_FILE names the certificates of an own authority",
            )
        if isinstance(error, http.client.HTTPException) and not isinstance(
            error, http.client.IncompleteRead | ConnectionError
        ):
            return broken_answer(str(self._address), f"{type(error).__name__}: {error}"[:200])
        return NoAnswerError(f"{type(error).__name__}: {error}"[:200])
