"""A real Triton server: what `export --triton` writes, and our client, to the bit.

`make test-triton` runs this; the server's Python has the packages of this machine's tests but for
NumPy, so that equal bits can be asked for.
"""

from __future__ import annotations

import json
import shutil
import struct
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.runtimes.inference_server import HASH_KEY, PRECISION_KEY
from tests.support.assets import BCCD, GHOST, needs_assets, val_images
from tests.support.exports import shared_proved_bundle
from tests.support.triton_server import (
    TritonServer,
    needs_triton,
    run_onnx_in_python,
    set_parameters,
)

pytestmark = [needs_triton, needs_assets]
triton_grpc = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient")

RAW, HALF, WHOLE = "raw", "half", "detector"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> gd.Bundle:
    return gd.Bundle.read(shared_proved_bundle(tmp_path_factory))


@pytest.fixture(scope="module")
def repository(bundle: gd.Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes, with the models that this server can run."""
    written = tmp_path_factory.mktemp("triton") / "models"
    assert main(["export", str(bundle.path), "--triton", str(written)]) == 0
    kept = {"onnx-fp32": RAW, "onnx-fp16": HALF, "detector": WHOLE}
    for folder in sorted(written.iterdir()):
        kind = folder.name.rpartition("_")[2]
        if kind not in kept:
            shutil.rmtree(folder)
            continue
        config = folder / "config.pbtxt"
        config.write_text(config.read_text().replace(f'"{folder.name}"', f'"{kept[kind]}"', 1))
        folder.rename(written / kept[kind])
    for name in (RAW, HALF):
        run_onnx_in_python(written / name)
    set_parameters(written / WHOLE, threads="1", runtime="ort")
    return written


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with TritonServer(repository, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def local(bundle: gd.Bundle) -> Iterator[gd.Detector]:
    with gd.load(bundle, "ort", "fp32", threads=1) as detector:
        yield detector


@pytest.fixture(scope="module")
def images() -> list[Path]:
    return val_images()[:16]


@pytest.fixture(scope="module")
def expected(local: gd.Detector, images: list[Path]) -> list[gd.Detections]:
    found = [local(path) for path in images]
    assert min(map(len, found)) > 0
    return found


@pytest.fixture(params=["http", "grpc"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def require_same(found: gd.Detections, wanted: gd.Detections) -> None:
    for name in ("xyxy", "score", "class_id"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


# The network on the server, the rest here


def test_detections_are_those_of_this_machine(
    server: TritonServer, bundle: gd.Bundle, transport: str, images: Any, expected: Any
) -> None:
    url = server.url(transport, RAW)
    for detector in (gd.load(url), gd.load(bundle, url=url)):
        with detector:
            info = detector.runtime.info
            assert info.version == "triton 2.51.0, raw version 1"
            assert info.precision == "fp32"
            for path, wanted in zip(images, expected, strict=True):
                require_same(detector(path), wanted)


def test_outputs_are_those_of_this_machine(
    server: TritonServer, bundle: gd.Bundle, local: gd.Detector, images: Any, transport: str
) -> None:
    feeds, _ = local.preprocess([images[0]])
    wanted = local.runtime.run(feeds)
    with gd.load(bundle, url=server.url(transport, RAW)) as detector:
        for name, array in detector.runtime.run(feeds).items():
            np.testing.assert_array_equal(array, wanted[name])


def test_sixteen_clients_at_once(
    server: TritonServer, transport: str, images: Any, expected: Any
) -> None:
    def work(number: int) -> None:
        with gd.load(server.url(transport, RAW)) as detector:
            for step in range(4):
                place = (number + step) % len(images)
                require_same(detector(images[place]), expected[place])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))


def test_what_triton_refuses(server: TritonServer, transport: str, bundle: gd.Bundle) -> None:
    for name in ("nothing", f"{RAW}/versions/2"):
        with pytest.raises(gd.BackendError, match="refuses the request"):
            gd.load(server.url(transport, name))
    with pytest.raises(gd.BackendError, match="no model of tensors"):
        gd.load(server.url(transport, WHOLE))
    with pytest.raises(gd.BundleError, match=r"in fp32.*onnx-fp16"):
        gd.load(bundle, precision="fp32", url=server.url(transport, HALF))


@pytest.mark.slow
def test_parity_and_accuracy_of_what_the_server_runs(
    server: TritonServer, bundle: gd.Bundle, images: Any
) -> None:
    url = server.url("grpc", RAW)
    report = gd.parity(GHOST, bundle, images[:4], url=url)
    (row,) = report.rows
    assert (row.runtime, row.artifact, row.status) == ("kserve", "onnx-fp32", "passed")
    assert row.version == "triton 2.51.0, raw version 1"
    notes: list[str] = []
    data = BCCD / "data.yaml"
    accuracy = gd.validate(bundle, data, url=url, note=notes.append)
    (measured,) = accuracy.rows
    assert (measured.runtime, measured.precision) == ("kserve", "fp32")
    here = gd.validate(bundle, data, runtimes=["ort"], precisions=["fp32"], store=False)
    assert measured.accuracy == here.rows[0].accuracy
    assert notes == ["measured on a server: the report was not stored in the bundle"]


# The whole detector on the server


def by_http(server: TritonServer, files: Sequence[bytes]) -> list[dict[str, Any]]:
    """The detections by HTTP with binary tensors, by the standard library."""
    data = b"".join(struct.pack("<I", len(each)) + each for each in files)
    tensor = {
        "name": "images",
        "shape": [len(files), 1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(data)},
    }
    outputs = [
        {"name": name, "parameters": {"binary_data": name != "error"}}
        for name in ("count", "boxes", "scores", "classes", "error")
    ]
    head = json.dumps({"inputs": [tensor], "outputs": outputs}).encode()
    url = server.url("http", f"v2/models/{WHOLE}/infer")
    headers = {"Inference-Header-Content-Length": str(len(head))}
    with urllib.request.urlopen(urllib.request.Request(url, head + data, headers)) as answer:
        length = int(answer.headers["Inference-Header-Content-Length"])
        body = answer.read()
    columns: dict[str, Any] = {}
    rest = body[length:]
    for each in json.loads(body[:length])["outputs"]:
        if "data" in each:
            columns[each["name"]] = each["data"]
            continue
        size = each["parameters"]["binary_data_size"]
        dtype = {"FP32": np.float32, "INT32": np.int32}[each["datatype"]]
        columns[each["name"]] = np.frombuffer(rest[:size], dtype).reshape(each["shape"])
        rest = rest[size:]
    return [
        {"error": columns["error"][row]}
        if count < 0
        else {name: columns[name][row, :count] for name in ("boxes", "scores", "classes")}
        for row, count in enumerate(columns["count"].ravel())
    ]


def by_grpc(server: TritonServer, files: Sequence[bytes]) -> list[dict[str, Any]]:
    """The detections by the example that users get."""
    from examples.triton_detector import detect

    with triton_grpc.InferenceServerClient(server.target) as client:
        return detect(client, WHOLE, files)


CLIENTS = {"http": by_http, "grpc": by_grpc}


def require_row(row: dict[str, Any], wanted: gd.Detections) -> None:
    assert "error" not in row
    np.testing.assert_array_equal(row["boxes"], wanted.xyxy)
    np.testing.assert_array_equal(row["scores"], wanted.score)
    np.testing.assert_array_equal(row["classes"], wanted.class_id)


@pytest.mark.parametrize("count", [1, 5, 16])
def test_image_files_in_detections_out(
    server: TritonServer, transport: str, count: int, images: Any, expected: Any
) -> None:
    files = [path.read_bytes() for path in images[:count]]
    for row, wanted in zip(CLIENTS[transport](server, files), expected[:count], strict=True):
        require_row(row, wanted)


def test_a_broken_image_harms_no_other(
    server: TritonServer, transport: str, images: Any, expected: Any
) -> None:
    good = images[0].read_bytes()
    rows = CLIENTS[transport](server, [b"", good, b"no image", good[:200], good])
    assert [bool(row.get("error")) for row in rows] == [True, False, True, True, False]
    assert "unknown format" in rows[2]["error"]
    for row in (rows[1], rows[4]):
        require_row(row, expected[0])


def test_sixteen_clients_of_the_whole_detector(
    server: TritonServer, transport: str, images: Any, expected: Any
) -> None:
    """Triton puts their images into common batches; every third client sends a broken one too."""

    def work(number: int) -> None:
        for step in range(3):
            place = (number + step) % len(images)
            files = [images[place].read_bytes(), *([b"broken"] if number % 3 == 0 else [])]
            rows = CLIENTS[transport](server, files)
            require_row(rows[0], expected[place])
            assert all("error" in row for row in rows[1:])
            assert len(rows) == len(files)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))


# What happens to servers


def test_a_server_that_is_killed_in_the_middle(
    server: TritonServer, transport: str, images: Any, expected: Any
) -> None:
    """The run goes on when the server is back, and every image is done once."""
    found: list[gd.Detections] = []
    with gd.load(server.url(transport, RAW)) as detector:
        for number, path in enumerate(images):
            if number == 3:
                server.kill()
                starter = threading.Thread(target=server.start)
                starter.start()
            found.append(detector(path))
        starter.join()
    for one, wanted in zip(found, expected, strict=True):
        require_same(one, wanted)


def test_a_server_that_stays_away(repository: Path, tmp_path: Path, images: Any) -> None:
    with TritonServer(repository, tmp_path) as own:
        detectors = [
            gd.load(gd.InferenceServer(own.url(transport, RAW), retry_s=0.5))
            for transport in ("http", "grpc")
        ]
        own.kill()
        for detector in detectors:
            with detector, pytest.raises(gd.BackendError, match="cannot be reached"):
                detector(images[0])


def test_a_model_that_is_loaded_again(
    server: TritonServer, repository: Path, transport: str, images: Any, expected: Any
) -> None:
    """The same model is the same; another one under the same name and version ends the run."""
    folder = repository / RAW
    config, graph = (folder / "config.pbtxt"), (folder / "1" / "model.onnx")
    before = config.read_bytes(), graph.read_bytes()
    half = (repository / HALF / "config.pbtxt").read_text()
    digest = half.partition(HASH_KEY)[2].partition('string_value: "')[2].partition('"')[0]
    try:
        with gd.load(server.url(transport, RAW)) as detector:
            server.load(RAW)
            require_same(detector(images[0]), expected[0])
            shutil.copy(repository / HALF / "1" / "model.onnx", graph)
            set_parameters(folder, **{HASH_KEY: digest, PRECISION_KEY: "fp16"})
            server.load(RAW)
            with pytest.raises(gd.BackendError, match=r"was replaced.*precision"):
                detector(images[0])
    finally:
        config.write_bytes(before[0])
        graph.write_bytes(before[1])
        server.load(RAW)


def test_the_command_says_which_server_answered(
    server: TritonServer, images: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    lines = tmp_path / "lines.jsonl"
    url = server.url("grpc", RAW)
    assert main(["infer", url, *map(str, images[:3]), "--jsonl", str(lines)]) == 0
    assert "in fp32 on kserve triton 2.51.0, raw version 1, server" in capsys.readouterr().err
    assert len(lines.read_text().splitlines()) == 3
