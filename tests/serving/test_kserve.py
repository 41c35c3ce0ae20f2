"""KServe's own server: the second one that our client meets. `make test-kserve` runs this."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghost_deploy as gd
from tests.support.assets import needs_assets, val_images
from tests.support.exports import shared_proved_bundle
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(os.environ.get("GHOST_DEPLOY_KSERVE", ROOT / ".venv-kserve"))
pytestmark = [
    needs_assets,
    pytest.mark.skipif(
        not any(ENVIRONMENT.glob("lib/python3*/site-packages/kserve")),
        reason=f"no kserve in {ENVIRONMENT}: make test-kserve",
    ),
]
pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")
PROGRAM = ROOT / "tests" / "support" / "kserve_model.py"


class OwnServer:
    """The server as a process."""

    def __init__(self, onnx: Path, log: Path) -> None:
        self._onnx, self._log = onnx, log
        self._ports = []
        for _ in range(2):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self._ports.append(str(probe.getsockname()[1]))

    def start(self) -> None:
        with self._log.open("ab") as log:
            words = [str(ENVIRONMENT / "bin" / "python"), str(PROGRAM), str(self._onnx)]
            self._process = subprocess.Popen(
                [*words, *self._ports],
                env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._ready, 90)

    def kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def url(self, transport: str, model: str = "raw") -> str:
        port = self._ports[0 if transport == "http" else 1]
        return f"{transport}://127.0.0.1:{port}/{model}"

    def _ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()[-3000:]
        address = f"http://127.0.0.1:{self._ports[0]}/v2/models/raw/ready"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> gd.Bundle:
    return gd.Bundle.read(shared_proved_bundle(tmp_path_factory))


@pytest.fixture(scope="module")
def server(bundle: gd.Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    onnx = bundle.verified_path(bundle.artifact("onnx", "fp32"))
    own = OwnServer(onnx, tmp_path_factory.mktemp("kserve") / "log")
    own.start()
    yield own
    own.kill()


@pytest.fixture(scope="module")
def expected(bundle: gd.Bundle) -> list[gd.Detections]:
    with gd.load(bundle, "ort", "fp32", threads=1) as detector:
        return [detector(path) for path in val_images()[:8]]


@pytest.fixture(params=["http", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def require_same(found: gd.Detections, wanted: gd.Detections) -> None:
    for name in ("xyxy", "score", "class_id"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


def test_it_does_not_describe_the_model(server: OwnServer, transport: str) -> None:
    with pytest.raises(gd.SpecError, match="gives no description"):
        gd.load(server.url(transport))
    with pytest.raises(gd.BackendError, match="refuses the request"):
        gd.load(server.url(transport, "other"))


def test_detections_are_those_of_this_machine(
    server: OwnServer, bundle: gd.Bundle, transport: str, expected: Any
) -> None:
    with gd.load(bundle, url=server.url(transport)) as detector:
        assert detector.runtime.info.version.startswith("kserve 0.21.")
        assert "taken to be fp32" in detector.runtime.info.notes[0]
        for path, wanted in zip(val_images(), expected, strict=False):
            require_same(detector(path), wanted)


def test_several_clients(
    server: OwnServer, bundle: gd.Bundle, transport: str, expected: Any
) -> None:
    def work(number: int) -> None:
        with gd.load(bundle, url=server.url(transport)) as detector:
            require_same(detector(val_images()[number]), expected[number])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_a_server_that_is_killed_in_the_middle(
    server: OwnServer, bundle: gd.Bundle, transport: str, expected: Any
) -> None:
    with ThreadPoolExecutor(1) as pool, gd.load(bundle, url=server.url(transport)) as detector:
        require_same(detector(val_images()[0]), expected[0])
        server.kill()
        started = pool.submit(server.start)
        time.sleep(0.1)
        require_same(detector(val_images()[1]), expected[1])
        started.result()
