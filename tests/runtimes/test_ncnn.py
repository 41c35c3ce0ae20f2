"""NCNN: what it does not check itself; the contract of all runtimes is in `contract/`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.core.bundle import FORM_KEY
from ghost_deploy.core.errors import BackendError, DeviceError, ShapeError
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.ncnn_description import NcnnDescription
from ghost_deploy.runtimes.table import open_file, probe
from tests.support.runtime_cases import expected, random_images, write_ncnn

pytest.importorskip("ncnn")


@pytest.fixture
def param(tmp_path: Path) -> Path:
    return write_ncnn(tmp_path / "model.param")


def without_description(param: Path) -> None:
    param.with_suffix(".json").unlink()


def damaged_description(param: Path) -> None:
    param.with_suffix(".json").write_text('{"inputs": []}')


def newer_description(param: Path) -> None:
    content = json.loads(param.with_suffix(".json").read_text())
    param.with_suffix(".json").write_text(json.dumps({**content, "schema": 2}))


def without_weights(param: Path) -> None:
    param.with_suffix(".bin").unlink()


def short_weights(param: Path) -> None:
    weights = param.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:40])


def unknown_layer(param: Path) -> None:
    param.write_text(param.read_text().replace("Sigmoid ", "pnnx.Expression "))


def another_input(param: Path) -> None:
    param.write_text(param.read_text().replace("images", "in0"))


def another_output(param: Path) -> None:
    param.write_text(param.read_text().replace("output0", "out0"))


def another_form(param: Path) -> None:
    path = param.with_suffix(".json")
    path.write_text(path.read_text().replace('"text"', f'"{FORM_KEY}"'))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_description, r"says nothing of its input size.*model\.json"),
        (damaged_description, "cannot be used"),
        (newer_description, "schema"),
        (without_weights, r"no file model\.bin"),
        (short_weights, "load_model returned"),
        (unknown_layer, "load_param returned"),
        (another_input, r"inputs \['in0'\]"),
        (another_output, r"outputs \['out0'\]"),
        (another_form, "another runtime"),
    ],
)
def test_what_cannot_be_opened(param: Path, change: Callable[[Path], None], message: str) -> None:
    change(param)
    with pytest.raises(BackendError, match=message):
        open_file("ncnn", param)


def test_an_output_of_another_size_is_an_error(param: Path) -> None:
    """NCNN itself returns 0 and a tensor of that size."""
    path = param.with_suffix(".json")
    path.write_text(path.read_text().replace("128", "127"))
    with open_file("ncnn", param) as runtime, pytest.raises(ShapeError, match="another size"):
        runtime.run({"images": random_images()})


def test_bf16_is_refused_and_falls_back_where_that_is_allowed(param: Path) -> None:
    with pytest.raises(DeviceError, match="bf16"):
        open_file("ncnn", param, RuntimeOptions(precision="bf16"))
    options = RuntimeOptions(precision="bf16", allow_fallback=True)
    with open_file("ncnn", param, options) as runtime:
        assert runtime.info.precision == "fp32"


@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 3, 1, 3), (1, 3, 13, 2)])
def test_rows_that_end_at_no_boundary_of_its_memory(shape: tuple[int, ...], tmp_path: Path) -> None:
    images = random_images(shape)
    with open_file("ncnn", write_ncnn(tmp_path / "any.param", dynamic=True)) as runtime:
        found = runtime.run({"images": images})["output0"]
    np.testing.assert_allclose(found, expected(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("end", ["", "runtime.close()", "del runtime", "sys.exit(0)"])
def test_a_process_ends_as_it_should(param: Path, end: str) -> None:
    """With an extractor that outlives its network it would be killed by a signal."""
    program = (
        "import sys, numpy as np\n"
        "from ghost_deploy.runtimes.table import open_file\n"
        f"runtime = open_file('ncnn', __import__('pathlib').Path({str(param)!r}))\n"
        "out = runtime.run({'images': np.zeros((1, 3, 8, 16), np.float32)})\n"
        f"{end}\n"
        "print(out['output0'].shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert ("(1, 7, 128)" in done.stdout) == ("exit" not in end)


def test_threads_and_probe(param: Path) -> None:
    with open_file("ncnn", param, RuntimeOptions(threads=2)) as runtime:
        assert runtime.info.threads == 2
        assert runtime.info.compute == "f32"
    found = probe("ncnn")
    assert found.installed
    assert found.devices[0].precisions == ("fp32", "fp16", "int8")


def test_the_description_is_read_as_it_was_written(param: Path) -> None:
    found = NcnnDescription.read(param)
    found.write(param)
    assert NcnnDescription.read(param) == found
