"""Servers that break HTTP or the protocol, or never come to an end: each is an error of ours."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.errors import BackendError, UsageError
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.inference_server import InferenceServer
from ghost_deploy.runtimes.kserve.kserve_runtime import open_model
from ghost_deploy.runtimes.table import NO_FILE
from tests.support.raw_kserve_server import METADATA, OUTPUT, document, raw_server, tensors

LISTED = {**OUTPUT, "parameters": {}, "data": [0] * 4}
DEEP = b"[" * 100_000
NESTED = document(b'{"versions": [' + b"[" * 900 + b"]" * 900 + b"]}")


def run(url: str, request_s: float = 5.0) -> np.ndarray[Any, Any]:
    server = InferenceServer(url, connect_s=2, request_s=request_s, retry_s=5)
    with open_model(NO_FILE, RuntimeOptions(server=server)) as runtime:
        return runtime.run({"images": np.zeros((1, 3, 2, 2), np.float32)})["o"]


ESCAPES = "\x1b]0;mine\x07\x1b[2Jgone\x9b8m\u202e"


@pytest.mark.parametrize("status", ["400 Bad", "500 Broken", "503 Away", "302 There"])
@pytest.mark.parametrize("place", ["v2", "m", "infer"])
@pytest.mark.parametrize("body", [{"error": ESCAPES}, ESCAPES.encode(), f"<p>{ESCAPES}".encode()])
def test_what_a_server_says_does_not_steer_the_terminal(
    status: str, place: str, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with raw_server(**{place: document(body, status=status)}) as url:
        server = InferenceServer(url, connect_s=1, request_s=2, retry_s=0.01)
        with (
            pytest.raises(BackendError) as caught,
            open_model(NO_FILE, RuntimeOptions(server=server)) as runtime,
        ):
            runtime.run({"images": np.zeros((1, 3, 2, 2), np.float32)})
    text = str(caught.value) + caplog.text
    assert "gone" in text
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def described(**changes: Any) -> bytes:
    return document({**METADATA, **changes})


def test_an_answer_as_it_should_be() -> None:
    with raw_server() as url:
        assert not run(url).any()


# The time of an answer


def interim() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n"


def slow_lines() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    while True:
        time.sleep(0.1)
        yield b"a: b\r\n"


def slow_bytes() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\na: "
    while True:
        time.sleep(0.1)
        yield b"b"


def slow_body() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    while True:
        time.sleep(0.1)
        yield b"b"


def trailers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    while True:
        yield b"a: b\r\n" * 1000


@pytest.mark.parametrize("answer", [interim, slow_lines, slow_bytes, slow_body, trailers])
@pytest.mark.parametrize("place", ["v2", "infer"])
def test_an_answer_that_never_ends(answer: Any, place: str) -> None:
    with raw_server(**{place: answer}) as url:
        before, threads = time.monotonic(), set(threading.enumerate())
        with pytest.raises(BackendError, match=r"nothing within 0\.5 s"):
            run(url, request_s=0.5)
        assert time.monotonic() - before < 3
        own = [each.name for each in set(threading.enumerate()) - threads]
        assert all("process_request" in name for name in own)  # those of the server


# Documents


@pytest.mark.parametrize(
    ("place", "answer", "message"),
    [
        *(
            ("config", document(f'{{"max_batch_size": {text}}}'.encode()), "max_batch_size")
            for text in ('"abc"', "Infinity", "NaN", "[1]", '{"a": 1}', "-3", "1e400")
        ),
        ("m", described(versions=5), "versions: 5"),
        ("m", described(versions={"1": 2}), "versions"),
        ("m", described(inputs=5), "KServe protocol"),
        ("m", document(json.dumps(METADATA).replace("[-1, 4]", "[1e400, 4]").encode()), "infinity"),
        *((place, document(DEEP), "KServe protocol") for place in ("v2", "m", "config", "infer")),
        *((place, document(DEEP, status="500 E"), "refuses") for place in ("v2", "infer")),
        ("m", NESTED, r"KServe protocol|does not say"),
        ("infer", tensors([OUTPUT], bytes(16) + b"more"), "4 bytes behind the tensors"),
        ("infer", tensors([OUTPUT] * 2, bytes(32)), "the output 'o' twice"),
        ("infer", tensors([OUTPUT], bytes(16), length=-1), "Inference-Header-Content-Length: -1"),
        ("infer", tensors([OUTPUT], bytes(16), length=9999), "Content-Length: 9999 of"),
        ("infer", tensors([{**OUTPUT, "shape": [1 << 62, 1 << 62]}], bytes(16)), "damaged tensor"),
        ("infer", document({"outputs": [{**LISTED, "shape": [1 << 62, 4]}]}), "cannot reshape"),
        ("infer", document({"outputs": [{**LISTED, "shape": [1] * 70 + [4]}]}), "dimension"),
        ("infer", tensors([OUTPUT], bytes(15)), "the answer ends early"),
        (
            "infer",
            tensors([{**OUTPUT, "parameters": {"binary_data_size": -1}}], bytes(16)),
            "binary_data_size: -1",
        ),
        (
            "infer",
            document({"outputs": [{**LISTED, "shape": [-1, 4]}]}),
            r"the shape \(-1, 4\)",
        ),
    ],
)
def test_a_document_that_is_not_the_protocols(place: str, answer: bytes, message: str) -> None:
    with raw_server(**{place: answer}) as url:
        before = time.monotonic()
        with pytest.raises(BackendError, match=message):
            run(url)
        assert time.monotonic() - before < 3  # nothing is sent again


# The length of an answer


@pytest.mark.parametrize("place", ["v2", "infer"])
@pytest.mark.parametrize("line", ["Content-Length: -5", "Content-Length: x", "a: b"])
def test_an_answer_whose_end_is_unclear(place: str, line: str) -> None:
    with raw_server(**{place: document({}, line, length=False)}) as url:
        before = time.monotonic()
        with pytest.raises(BackendError, match=r"Content-Length"):
            run(url)
        assert time.monotonic() - before < 3


@pytest.mark.parametrize(
    ("version", "line"), [("1.1", "Connection: close"), ("1.0", "a: b"), ("1.1", "chunked")]
)
def test_an_answer_without_its_length_that_ends_clearly(version: str, line: str) -> None:
    body, lines = json.dumps({"outputs": [LISTED]}).encode(), [line]
    if line == "chunked":
        body, lines = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), ["Transfer-Encoding: chunked"]
    answer = document(body, *lines, length=False).replace(b"HTTP/1.1", f"HTTP/{version}".encode())

    def ending() -> Iterator[bytes]:
        yield answer
        if line != "chunked":
            raise ConnectionResetError  # the server closes

    with raw_server(infer=ending) as url:
        assert not run(url).any()


def test_a_tensor_that_ends_early_on_a_closed_connection_is_asked_for_again() -> None:
    whole = tensors([OUTPUT], bytes(15)).split(b"\r\n")
    cut = [b"Connection: close" if x.startswith(b"Content-") else x for x in whole]
    asked: list[int] = []

    def ending() -> Iterator[bytes]:
        asked.append(1)
        if len(asked) > 1:
            yield tensors([OUTPUT], bytes(16))
            return
        yield b"\r\n".join(cut)
        raise ConnectionResetError

    with raw_server(infer=ending) as url:
        assert not run(url).any()
    assert len(asked) == 2


# Addresses and versions


@pytest.mark.parametrize("scheme", ["http", "https", "grpc"])
@pytest.mark.parametrize("host", ["a..b", "a" * 64, f"x.{'b' * 70}.org", "h ost", "h\x01"])
def test_what_is_no_name_of_a_host(scheme: str, host: str) -> None:
    if scheme == "grpc":
        pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")
    with pytest.raises(UsageError, match="no name of a host"):
        run(f"{scheme}://{host}:80/m")


def test_a_path_before_the_model_of_any_characters() -> None:
    with raw_server() as url:
        run(url.removesuffix("m") + "\xe9 b/%C3%A9/v2/models/m")


@pytest.mark.parametrize(
    ("versions", "latest"),
    [(["\xb2", "1"], ""), (["9" * 5000, "1"], "9" * 5000), (["2", "010"], "010"), ([], "")],
)
def test_versions_that_are_no_plain_numbers(versions: list[str], latest: str) -> None:
    with raw_server(m=described(versions=versions)) as url:
        run(url)
        with open_model(NO_FILE, RuntimeOptions(server=InferenceServer(url))) as runtime:
            assert runtime.info.version == f"s 1, m version {latest}".removesuffix(" version ")
