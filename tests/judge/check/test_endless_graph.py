"""A graph that computes for ever: contained by the limit of time, and by its parent's death."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ghost_deploy as gd
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.judge.check import ask_child as asking
from tests.support.constant_model import write_constant_bundle, write_constant_onnx
from tests.support.waiting import wait_until

ENDLESS = 1 << 62


def write_endless(path: Path) -> Path:
    """The constant model behind a loop of 2^62 rounds, each of which adds zero."""
    model = onnx.load(write_constant_onnx(path))
    graph = model.graph
    shape = [d.dim_value for d in graph.output[0].type.tensor_type.shape.dim]
    value = [helper.make_tensor_value_info(f"v{i}", TensorProto.FLOAT, shape) for i in (0, 1)]
    body = helper.make_graph(
        [
            helper.make_node("Add", ["v0", "zero"], ["v1"]),
            helper.make_node("Identity", ["go"], ["on"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value[0],
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, []), value[1]],
    )
    graph.node[-1].output[0] = "once"
    graph.node.append(helper.make_node("Loop", ["rounds", "true", "once"], ["output0"], body=body))
    graph.initializer.append(numpy_helper.from_array(np.array(ENDLESS, np.int64), "rounds"))
    graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A right artifact, and an endless one in fp16, of which this machine knows nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = write_constant_bundle(tmp_path / "right")
    with BundleWriter(tmp_path / "b") as writer:
        writer.adopt(source)
        path = write_endless(writer.folder / "endless.onnx")
        writer.add(format="onnx", precision="fp16", path=path, parent="0", tools={})
        writer.draft(source.spec, source.document.source, "a test")
        return writer.finish()


def test_check_ends_it_and_goes_on(bundle: Bundle) -> None:
    report = gd.check(bundle, runtimes=["ort"], timeout_s=6, speed=False)
    found = {row.artifact: row for row in report.rows}
    assert found["onnx-fp16"].status == "failed"
    assert "no answer within 6 s" in str(found["onnx-fp16"])
    assert found["onnx-fp32"].status != "failed"


def test_the_first_load_refuses_it(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_child = asking.ask_child
    monkeypatch.setattr(asking, "ask_child", lambda *a, **k: ask_child(*a, **k, timeout_s=2))
    with pytest.raises(gd.GhostDeployError, match="no answer within 2 s"):
        gd.load(bundle, "ort", "fp16")


CHECK = """
import sys
import ghost_deploy as gd
gd.check(sys.argv[1], runtimes=["ort"], precisions=["fp16"], timeout_s=600, speed=False)
"""


def processes_of(text: str) -> list[int]:
    """Processes whose environment has a text."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if text.encode() in (folder / "environ").read_bytes() and state != "Z":
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


@pytest.mark.parametrize("delay_s", [0.0, 1.0])
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_it_does_not_outlive_a_check_that_is_killed(bundle: Bundle, delay_s: float) -> None:
    mark = f"TEST_OF_ENDLESS_GRAPHS={time.time_ns()}"
    name, _, value = mark.partition("=")
    import os

    environment = {**os.environ, name: value}
    with subprocess.Popen(
        [sys.executable, "-c", CHECK, str(bundle.path)], env=environment
    ) as parent:
        wait_until(lambda: len(processes_of(mark)) == 2, timeout_s=120)
        time.sleep(delay_s)
        parent.kill()
    wait_until(lambda: processes_of(mark) == [], timeout_s=30)
