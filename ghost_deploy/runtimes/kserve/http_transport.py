"""The KServe protocol over HTTP, with binary tensors, by the standard library alone.

No proxy is used, whatever the environment says, and no redirect is followed: both would send
images and tokens to another server than the one that was named.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import BackendError
from ghost_deploy.runtimes.inference_server import InferenceServer
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
    require_id,
    tensor_spec,
    too_slow,
)

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
_TAGS = re.compile(r"(?is)<(style|script|title)\b.*?</\1\s*>|<[^>]*>")
_CHUNK = 1 << 20


class HttpTransport(Transport):
    """One connection that is kept open, and opened again when the server closed it."""

    def __init__(self, server: InferenceServer) -> None:
        self._server, self._address = server, server.address
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
        return " ".join(str(facts.get(key, "")) for key in ("name", "version")).strip()

    def model(self) -> ServedModel:
        facts = self._json(self._path)
        config = self._json(f"{self._path}/config", optional=True)
        where = str(self._address)
        return ServedModel(
            name=str(facts.get("name", "")),
            versions=tuple(str(each) for each in facts.get("versions") or ()),
            platform=str(facts.get("platform", "")),
            inputs=_tensors(facts.get("inputs"), where),
            outputs=_tensors(facts.get("outputs"), where),
            parameters=_texts(config.get("parameters")),
            max_batch=int(config.get("max_batch_size") or 0),
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
        parts: list[Any] = [head, *(array.data.cast("B") for array in arrays.values())]
        status, answered, body = self._exchange("POST", f"{self._path}/infer", headers, parts)
        self._require_ok(status, body)
        return self._answer(answered.get(_LENGTH), body)

    def close(self) -> None:
        self._connection.close()

    def _answer(self, header_length: str | None, body: bytes) -> InferAnswer:
        where = str(self._address)
        try:
            length = len(body) if header_length is None else int(header_length)
            facts = json.loads(body[:length])
            require_id(str(facts.get("id") or ""), self._number, where)
            rest = memoryview(body)[length:]
            outputs: dict[str, NDArray[Any]] = {}
            for each in facts["outputs"]:
                name, shape = str(each["name"]), tuple(map(int, each["shape"]))
                size = (each.get("parameters") or {}).get("binary_data_size")
                if size is None:
                    outputs[name] = _of_list(each["data"], each["datatype"], shape)
                else:
                    data, rest = rest[: int(size)], rest[int(size) :]
                    if len(data) != int(size):
                        raise NoAnswerError("the answer ends early")
                    outputs[name] = array_of(data, each["datatype"], shape, where)
            return InferAnswer(str(facts.get("model_version") or ""), outputs)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise broken_answer(where, f"{type(error).__name__}: {error}") from error

    def _json(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        """The JSON document of a path; with `optional`, empty where there is none."""
        status, _, body = self._exchange("GET", path)
        # 405 and 501 too: what servers say to a method or path that they do not have.
        if optional and status in (400, 404, 405, 501):
            return {}
        self._require_ok(status, body)
        try:
            facts = json.loads(body)
        except ValueError as error:
            raise broken_answer(str(self._address), "no JSON") from error
        if not isinstance(facts, dict):
            raise broken_answer(str(self._address), f"a JSON {type(facts).__name__}")
        return facts

    def _require_ok(self, status: int, body: bytes) -> None:
        if status == 200:
            return
        reason = _REFUSED.get(status) or _reason(body)
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
        parts: Sequence[Any] = (),
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
            # A gateway that refuses a request may close before all was sent: its answer says why.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request(method, path, iter(parts) if parts else None, sent)
            with self._connection.getresponse() as response:
                body = b"".join(self._pieces(response, deadline))
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

    def _pieces(self, response: http.client.HTTPResponse, deadline: float) -> Iterator[bytes]:
        """The body; its end is checked against the length that was announced."""
        total = 0
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if self._connection.sock is not None:
                self._connection.sock.settimeout(left)
            piece = response.read1(_CHUNK)
            total += len(piece)
            if total > _MAX_ANSWER:
                raise broken_answer(str(self._address), f"more than {_MAX_ANSWER} bytes")
            if not piece:
                break
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


def _tensors(items: Any, where: str) -> tuple[Any, ...]:
    try:
        return tuple(
            tensor_spec(str(each["name"]), str(each["datatype"]), tuple(map(int, each["shape"])))
            for each in items or ()
        )
    except (KeyError, TypeError, ValueError) as error:
        raise broken_answer(where, f"{type(error).__name__}: {error}") from error


def _texts(parameters: Any) -> dict[str, str]:
    """The texts among the parameters of a configuration."""
    found = parameters.items() if isinstance(parameters, dict) else ()
    texts = {key: value.get("string_value") for key, value in found if isinstance(value, dict)}
    return {key: text for key, text in texts.items() if isinstance(text, str)}


def _of_list(data: Any, datatype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """An array of the numbers of a JSON answer, flat or nested."""
    if datatype not in NUMPY_OF:
        raise ValueError(f"a tensor of {datatype}")
    return np.asarray(data, NUMPY_OF[datatype]).reshape(shape)


def _reason(body: bytes) -> str:
    """What a server says of an error, at most 300 characters; of a page, the first line of text."""
    try:
        facts = json.loads(body)
        text = facts.get("error") or facts.get("detail") if isinstance(facts, dict) else facts
    except ValueError:
        text = body.decode("utf-8", "replace")
        if text.lstrip().startswith("<"):
            words = _TAGS.sub(" ", text).split()
            return f"a page, not the KServe protocol: {' '.join(words)[:80]}"
    return " ".join(str(text).split())[:300]
