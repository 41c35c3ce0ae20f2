"""A model on a server: what is checked, what is sent again, and what ends a run."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.errors import BackendError, InputError, UsageError
from ghost_deploy.detector import Detector
from ghost_deploy.runtimes import inference_server as server_module
from ghost_deploy.runtimes.base import RuntimeOptions, TensorSpec
from ghost_deploy.runtimes.inference_server import InferenceServer
from ghost_deploy.runtimes.kserve.http_documents import reason_of
from ghost_deploy.runtimes.kserve.kserve_runtime import KServeRuntime, open_model
from ghost_deploy.runtimes.table import NO_FILE
from tests.contract.test_shared_detector import SPEC
from tests.support.kserve_server import Hosted, KServeServer
from tests.support.runtime_cases import expected, hosted_model, random_images

pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")

TOKEN = "s3cret-of-the-server"


@pytest.fixture(scope="module")
def strict() -> Iterator[KServeServer]:
    with KServeServer({}) as server:
        yield server


@pytest.fixture
def served(strict: KServeServer) -> KServeServer:
    """The server with its usual models and no faults."""
    small = dataclasses.replace(hosted_model(True), max_batch=2)
    strict.models = {"m": hosted_model(False), "dynamic": hosted_model(True), "small": small}
    strict.faults.clear()
    strict.asked.clear()
    strict.most_bytes = 1 << 30
    strict.unready, strict.slow_s, strict.received = 0, 1.0, 0
    return strict


@pytest.fixture(params=["http", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(
    served: KServeServer, transport: str, model: str = "m", **settings: Any
) -> KServeRuntime:
    server = InferenceServer(served.url(transport, model), **settings)
    return open_model(NO_FILE, RuntimeOptions(server=server))


def run(runtime: KServeRuntime, **changes: Any) -> np.ndarray[Any, Any]:
    images = random_images(**changes)
    (output,) = runtime.run({"images": images}).values()
    np.testing.assert_allclose(output, expected(images), rtol=1e-5, atol=1e-5)
    return output


# Addresses and what is sent along


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://",
        "http://host",
        "http://host:8000/",
        "http://host:8000/m/2",
        "http://host:8000/m/versions/",
        "http://host:99999/m",
        "http://host:x/m",
        "http://[::1/m",
        "grpc://host/m",
        "grpc://host:1/p/v2/models/m",
        "ftp://host:1/m",
        "host:8000/m",
        "http://host:8000/m?token=1",
        "http://host:8000/m#1",
    ],
)
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError, match="no address of a model"):
        InferenceServer(url)


@pytest.mark.parametrize(
    "url", ["grpc://unix:1/m", "grpc://dns:8001/m", "grpcs://ipv4:1/m", "grpc://UNIX:1/m"]
)
def test_a_host_that_grpc_takes_for_a_kind_of_address(url: str) -> None:
    with pytest.raises(UsageError, match=r"does not take .* for a host"):
        InferenceServer(url)
    InferenceServer(url.replace("grpcs", "https").replace("grpc:", "http:"))


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="no user or password") as caught:
        InferenceServer("http://me:hunter2@host:8000/m")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "target", "path"),
    [
        ("http://h:8000/m", "h:8000", "/v2/models/m"),
        ("https://h/m/versions/12", "h:443", "/v2/models/m/versions/12"),
        ("http://[::1]:8000/a%2Fb", "[::1]:8000", "/v2/models/a%2Fb"),
        ("https://h/in/gress/v2/models/m", "h:443", "/in/gress/v2/models/m"),
        ("grpc://h:8001/m/versions/1", "h:8001", "/v2/models/m/versions/1"),
    ],
)
def test_addresses(url: str, target: str, path: str) -> None:
    address = InferenceServer(url).address
    assert (address.target, address.model_path) == (target, path)


@pytest.mark.parametrize(
    "settings",
    [
        {"headers": {"a b": "c"}},
        {"headers": {"a": "b\r\nc: d"}},
        {"headers": {"a": "é"}},
        {"connect_s": 0},
        {"request_s": -1},
        {"retry_s": -1},
        {"retry_s": float("nan")},
    ],
)
def test_settings_that_cannot_be_used(settings: Any) -> None:
    with pytest.raises(UsageError):
        InferenceServer("http://host/m", **settings)


def test_headers_and_the_token(
    served: KServeServer, transport: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    with KServeServer({"m": hosted_model(False)}, token=TOKEN) as guarded:
        with pytest.raises(BackendError, match=r"token|UNAUTHENTICATED"):
            opened(guarded, transport)
        monkeypatch.setenv(server_module.TOKEN, TOKEN)
        with opened(guarded, transport, headers={"X-Route": "edge"}) as runtime:
            run(runtime)
            assert guarded.headers["x-route"] == "edge"
            assert TOKEN not in repr(runtime.info) + repr(runtime._server)
        monkeypatch.setenv(server_module.TOKEN, "wrong")
        monkeypatch.setenv(server_module.TOKEN_FILE, str(tmp_path / "token"))
        with pytest.raises(InputError, match="No such file"):
            opened(guarded, transport)
        (tmp_path / "token").write_text(f"{TOKEN}\n")
        with opened(guarded, transport) as runtime:
            run(runtime)
        with pytest.raises(BackendError) as caught:
            opened(guarded, transport, headers={"authorization": "Bearer other-secret"})
        assert "other-secret" not in str(caught.value)


def test_no_proxy_is_used(
    served: KServeServer, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with opened(served, transport) as runtime:
        run(runtime)


# Encryption


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    names = (folder / "certificate.pem", folder / "key.pem")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(names[0]), "-keyout"]
    command = ["openssl", *words.split(), *extra, str(names[1])]
    subprocess.run(command, check=True, capture_output=True)
    return names


def test_an_authority_of_ones_own(
    certificate: tuple[Path, Path], transport: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with KServeServer({"m": hosted_model(False)}, certificate=certificate) as guarded:
        assert guarded.url(transport, "m").startswith(f"{transport}s://")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(BackendError, match=r"(?i)certificate|handshake|ssl|UNAVAILABLE"):
            opened(guarded, transport, connect_s=1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        with opened(guarded, transport, request_s=5) as runtime:
            run(runtime)
        plain = guarded.url(transport, "m").replace("s://", "://", 1)
        with pytest.raises(BackendError):
            open_model(
                NO_FILE, RuntimeOptions(server=InferenceServer(plain, connect_s=1, request_s=2))
            )


# Opening


def test_a_server_that_is_away(transport: str) -> None:
    with pytest.raises(BackendError, match="cannot be reached"):
        open_model(
            NO_FILE,
            RuntimeOptions(server=InferenceServer(f"{transport}://127.0.0.1:9/m", retry_s=0.2)),
        )


def test_no_server_is_named() -> None:
    with pytest.raises(UsageError, match="--url"):
        open_model(NO_FILE, RuntimeOptions())


def test_the_wrong_port(served: KServeServer) -> None:
    """HTTP at the port of gRPC, and the other way round."""
    http, grpc = (served.url(name, "m").partition("://")[2] for name in ("http", "grpc"))
    for url in (f"http://{grpc}", f"grpc://{http}"):
        settings: Any = {"connect_s": 0.5, "request_s": 2, "retry_s": 0.5}
        with pytest.raises(BackendError) as caught:
            open_model(NO_FILE, RuntimeOptions(server=InferenceServer(url, **settings)))
        assert "HTTP and gRPC have ports of their own" in caught.value.fix


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<!DOCTYPE HTML>\n<html><head><style>p {x: y}</style><title>E</title></head><body>"
         b"<h1>Not here</h1><p>Message: gone." + b" more" * 999, "Not here Message: gone. more"),
        (b'{"error": "no such model"}', "no such model"),
        (b"plain words", "plain words"),
        (b"", ""),
    ],
)  # fmt: skip
def test_a_page_is_cut_to_a_line(body: bytes, said: str) -> None:
    text = reason_of(body)
    assert said in text
    assert "<" not in text
    assert "{x" not in text
    assert len(text) < 150


def test_a_model_that_is_not_there(served: KServeServer, transport: str) -> None:
    for model in ("other", "m/versions/2"):
        with pytest.raises(BackendError, match=r"refuses the request.*unknown model"):
            opened(served, transport, model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ()}, "does not say what inputs"),
        ({"outputs": ()}, "does not say what inputs"),
        ({"inputs": (TensorSpec("images", (-1,), "BYTES"),)}, "no model of tensors"),
    ],
)
def test_a_model_that_is_not_described(
    served: KServeServer, transport: str, changes: Any, message: str
) -> None:
    served.models["m"] = dataclasses.replace(hosted_model(False), **changes)
    with pytest.raises(BackendError, match=message):
        opened(served, transport)


def test_a_negative_limit_of_images(served: KServeServer, transport: str) -> None:
    served.models["m"] = dataclasses.replace(hosted_model(False), max_batch=-3)
    with pytest.raises(BackendError, match="max_batch_size: -3"):
        opened(served, transport)


@pytest.mark.parametrize("name", ["x-bin", "X-Trace-BIN", "x!"])
def test_headers_that_grpc_does_not_have(served: KServeServer, name: str) -> None:
    with opened(served, "http", headers={name: "text"}) as runtime:
        run(runtime)
        assert served.headers[name.lower()] == "text"
    with pytest.raises(UsageError, match="cannot be sent over gRPC"):
        opened(served, "grpc", headers={name: "text"})


def test_info_names_server_model_and_version(served: KServeServer, transport: str) -> None:
    with opened(served, transport, "m/versions/1") as runtime:
        assert runtime.info.version == "strict 1.2, m version 1"
        run(runtime)
    served.models["m"] = dataclasses.replace(hosted_model(False), versions=("1", "²"))
    with opened(served, transport) as runtime:
        assert runtime.info.version == "strict 1.2, m"
    served.models["m"] = dataclasses.replace(hosted_model(False), versions=("1", "10", "9"))
    with opened(served, transport) as runtime:
        assert runtime.info.version == "strict 1.2, m version 10"


# Answers


@pytest.mark.parametrize("fault", ["list", "contents"])
def test_numbers_that_are_not_binary(served: KServeServer, transport: str, fault: str) -> None:
    served.faults.append(fault)
    with opened(served, transport) as runtime:
        run(runtime)


BROKEN = {
    "empty": r"NumPy 2",
    "no bytes": r"NumPy 2|does not fit",
    "short": r"damaged tensor|KServe protocol",
    "wrong name": r"other outputs.*output0x",
    "wrong dtype": r"does not fit.*int32",
    "unknown dtype": r"BF16",
    "wrong shape": r"does not fit.*\(1, 1, 7, 128\)",
    "other batch": r"does not fit.*\(2, 7, 128\)",
    "negative shape": r"-1, 7, 128",
    "garbage": r"KServe protocol",
    "no outputs": r"other outputs.*none",
    "twice": r"the output 'output0' twice",
    "other id": r"answer to request '0' for request 1",
    "internal": r"refuses the request.*(status 500|INTERNAL)",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_answer(served: KServeServer, transport: str, fault: str) -> None:
    """It is an error, it is not asked for again, and the next answer is right."""
    with opened(served, transport) as runtime:
        served.faults.append(fault)
        with pytest.raises(BackendError, match=BROKEN[fault]):
            run(runtime)
        assert len(served.asked) == 1
        run(runtime)


def test_another_batch_than_was_asked_for(served: KServeServer, transport: str) -> None:
    with opened(served, transport, "dynamic") as runtime:
        served.faults.append("other batch")
        with pytest.raises(BackendError, match=r"does not fit.*\(3, 7, 128\).*for 2 images"):
            run(runtime, shape=(2, 3, 8, 16))


def test_numbers_that_are_not_finite(served: KServeServer, transport: str) -> None:
    with Detector(opened(served, transport), SPEC) as detector:
        served.faults.append("nan")
        image = np.zeros((8, 16, 3), np.uint8)
        with pytest.raises(BackendError, match="finite"):
            detector(image)
        detector(image)


def test_what_the_server_refuses_is_not_sent_again(served: KServeServer, transport: str) -> None:
    with opened(served, transport) as runtime:
        # Behind the client's back: the server takes other tensors now, and says so too late.
        inputs = (TensorSpec("pixels", (1, 3, 8, 16), "float32"),)
        served.models["m"] = dataclasses.replace(hosted_model(False), inputs=inputs)
        with pytest.raises(BackendError, match="refuses the request"):
            run(runtime)
        assert served.received == 1


def test_a_request_that_is_too_large(served: KServeServer) -> None:
    """The answer is read although the server took none of the request, and ends the matter."""
    with opened(served, "http", "dynamic") as runtime:
        served.most_bytes = 10_000
        with pytest.raises(BackendError, match=r"status 413.*larger than"):
            run(runtime, shape=(8, 3, 512, 512))
        served.most_bytes = 1 << 30
        run(runtime)


# Batches


@pytest.mark.parametrize(("count", "requests"), [(1, [1]), (2, [2]), (3, [2, 1]), (5, [2, 2, 1])])
def test_requests_are_split(
    served: KServeServer, transport: str, count: int, requests: list[int]
) -> None:
    with opened(served, transport, "small") as runtime:
        run(runtime, shape=(count, 3, 8, 16))
    assert [each[2] for each in served.asked] == requests


# A server that is away for a moment


@pytest.mark.parametrize("fault", ["away", "reset", "truncated"])
def test_a_request_is_sent_again(served: KServeServer, transport: str, fault: str) -> None:
    with opened(served, transport) as runtime:
        served.faults.extend([fault, fault])
        run(runtime)
    assert len(served.asked) == 3


def test_a_configuration_that_ends_early_is_asked_for_again(served: KServeServer) -> None:
    with opened(served, "http") as runtime:
        served.cut_config = True
        run(runtime)
    assert not served.cut_config


def test_it_is_not_tried_for_ever(served: KServeServer, transport: str) -> None:
    with opened(served, transport, retry_s=0.3) as runtime:
        served.faults.extend(["away"] * 50)
        with pytest.raises(BackendError, match=r"cannot be reached.*too much to do"):
            run(runtime)
        assert 2 <= len(served.asked) < 10
        served.faults.clear()
        run(runtime)


def test_who_hurries_waits_no_longer(served: KServeServer, transport: str) -> None:
    """A run that is stopped does not wait for a server that is away."""
    with opened(served, transport, retry_s=60) as runtime:
        served.faults.extend(["away"] * 1000)
        hurry = threading.Timer(0.3, runtime.hurry)
        hurry.start()
        with pytest.raises(BackendError, match=r"cannot be reached.*tried for [0-9]\."):
            run(runtime)
        hurry.join()


def test_a_slow_answer_is_not_asked_for_again(served: KServeServer, transport: str) -> None:
    with opened(served, transport, request_s=0.2) as runtime:
        served.slow_s = 0.6
        served.faults.append("slow")
        with pytest.raises(BackendError, match=r"nothing within 0\.2 s"):
            run(runtime)
        assert len(served.asked) == 1
        run(runtime)


def test_a_model_that_is_not_ready_is_waited_for(served: KServeServer, transport: str) -> None:
    with opened(served, transport) as runtime:
        served.unready = 3
        run(runtime)
    assert served.unready <= 0


def test_a_server_that_is_restarted(served: KServeServer, transport: str) -> None:
    with KServeServer({"m": hosted_model(False)}) as own, opened(own, transport) as runtime:
        run(runtime)
        own.stop()
        starter = threading.Timer(0.5, own.restart)
        starter.start()
        run(runtime)
        starter.join()


# Another model


def test_a_replaced_model_ends_the_run(served: KServeServer, transport: str) -> None:
    with opened(served, transport) as runtime:
        run(runtime)
        served.faults.append("replaced")
        for _ in range(2):
            with pytest.raises(BackendError, match=r"was replaced.*another ghost_deploy\.sha256"):
                run(runtime)


@pytest.mark.parametrize("configured", [True, False])
def test_another_version_ends_the_run(
    served: KServeServer, transport: str, configured: bool
) -> None:
    served.models["m"] = dataclasses.replace(hosted_model(False), configured=configured)
    with opened(served, transport) as runtime:
        run(runtime)
        served.faults.append("other version")
        with pytest.raises(BackendError, match=r"was replaced.*version 7, it was 1"):
            run(runtime)


def test_a_new_version_beside_the_one_that_was_asked_for(
    served: KServeServer, transport: str
) -> None:
    with opened(served, transport, "m/versions/1") as runtime:
        run(runtime)
        served.models["m"] = dataclasses.replace(hosted_model(False), versions=("1", "2"))
        run(runtime)


def test_a_fork_of_another_model_is_refused(served: KServeServer, transport: str) -> None:
    with opened(served, transport) as runtime:
        with runtime.fork() as fork:
            fork.run({"images": random_images()})
        other: Hosted = dataclasses.replace(hosted_model(False), parameters={"text": "other"})
        served.models["m"] = other
        with pytest.raises(BackendError, match="was replaced"):
            runtime.fork()
