"""OpenVINO's package without what running a model does not need, and the end of its `.xml`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.runtimes.openvino_info import info_of

openvino = pytest.importorskip("openvino")
HAS_OPSETS = importlib.util.find_spec("openvino.opset8") is not None  # from 2025.0 on
ops = importlib.import_module("openvino.opset8" if HAS_OPSETS else "openvino.runtime.opset8")

USES = """
import sys
from ghost_deploy.runtimes.openvino_package import import_openvino
openvino = import_openvino()
left = [name for name in sys.modules if name.startswith(("openvino.opset", "openvino.tools"))]
assert left == [], left
{use}
"""


@pytest.mark.parametrize(
    "use",
    [
        "assert openvino.opset8.relu and openvino.opset1.add",
        "from openvino import opset13; assert opset13.relu.__module__.startswith('openvino.opset')",
        "import openvino.opset13 as o; assert o.__file__",
        "from openvino.opset3.ops import shuffle_channels",
        "assert not hasattr(openvino.opset1, 'no_such_operator')",
        "import_openvino(); assert import_openvino() is openvino",
        "assert callable(openvino.convert_model)",
    ],
)
def test_what_was_left_is_there_when_used(use: str) -> None:
    if "opset" in use and not HAS_OPSETS:
        pytest.skip("this OpenVINO has its opsets in openvino.runtime")
    subprocess.run([sys.executable, "-c", USES.format(use=use)], check=True)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    parameter = ops.parameter([1, 2], np.float32)
    model = openvino.Model([ops.relu(parameter)], [parameter], "small")
    model.set_rt_info('<"&\n> ä', ["ghost_deploy.spec"])
    model.set_rt_info("1", ["section", "inside"])
    path = tmp_path / "model.xml"
    openvino.save_model(model, path)
    return path


def test_info_is_what_openvino_reads(written: Path) -> None:
    read = openvino.Core().read_model(written).get_rt_info()
    wanted = {key: read[key] for key in read}
    wanted = {key: str(v.value) for key, v in wanted.items() if not isinstance(v, dict)}
    del wanted["version"]  # of the format
    assert info_of(written) == wanted
    assert wanted["ghost_deploy.spec"] == '<"&\n> ä'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"</net>", b""),
        (b"</edges>", b""),
        (b"<rt_info>", b"<rt_info"),
        (b"</rt_info>\n</net>", b"</net>"),
        (b"<rt_info>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><rt_info>"),
    ],
)
def test_another_end_is_left_to_openvino(written: Path, old: bytes, new: bytes) -> None:
    data = written.read_bytes()
    assert old in data
    head, _, tail = data.rpartition(old)
    written.write_bytes(head + new + tail)
    assert info_of(written) is None


def test_no_info_and_no_file(written: Path) -> None:
    head, _, _ = written.read_bytes().rpartition(b"<rt_info>")
    written.write_bytes(head + b"</net>")
    assert info_of(written) == {}
    written.write_bytes(b"")
    assert info_of(written) is None
    with pytest.raises(FileNotFoundError):
        info_of(written.with_name("absent.xml"))
