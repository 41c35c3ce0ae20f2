"""A server on loopback that answers HTTP requests for a model with whatever bytes a test says."""

from __future__ import annotations

import contextlib
import json
import socketserver
import threading
from collections.abc import Iterator, Mapping
from typing import Any

Answer = bytes | Iterator[bytes]

METADATA = {
    "name": "m",
    "versions": ["1"],
    "platform": "x",
    "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 2, 2]}],
    "outputs": [{"name": "o", "datatype": "FP32", "shape": [-1, 4]}],
}
OUTPUT = {
    "name": "o",
    "datatype": "FP32",
    "shape": [1, 4],
    "parameters": {"binary_data_size": 16},
}


def document(body: Any, *lines: str, status: str = "200 OK", length: bool = True) -> bytes:
    """An HTTP answer with a JSON document, or with bytes as they are."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    announced = [f"Content-Length: {len(data)}"] if length else []
    return "\r\n".join([f"HTTP/1.1 {status}", *announced, *lines, "", ""]).encode() + data


def tensors(outputs: Any, data: bytes, length: int | None = None) -> bytes:
    """An answer to a request for inference."""
    head = json.dumps({"outputs": outputs}).encode()
    shown = len(head) if length is None else length
    return document(head + data, f"Inference-Header-Content-Length: {shown}")


class _Handler(socketserver.StreamRequestHandler):
    answers: Mapping[str, Any]

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                path, count = line.split()[1].decode(), 0
                while header := self.rfile.readline().strip():
                    if header.lower().startswith(b"content-length:"):
                        count = int(header.split(b":")[1])
                self.rfile.read(count)
                last = path.rpartition("/")[2]
                answer = self.answers[last]
                for piece in [answer] if isinstance(answer, bytes) else answer():
                    self.wfile.write(piece)


@contextlib.contextmanager
def raw_server(**answers: Any) -> Iterator[str]:
    """The address of a model; `answers` by the last word of the path: bytes, or a function that
    yields them: `v2`, `m`, `config`, `ready`, `infer`."""
    usual = {
        "v2": document({"name": "s", "version": "1"}),
        "m": document(METADATA),
        "config": document({}, status="404 Not Found"),
        "ready": document({}),
        "infer": tensors([OUTPUT], bytes(16)),
    }
    handler = type("Handler", (_Handler,), {"answers": {**usual, **answers}})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/m"
        server.shutdown()
        thread.join(10)
