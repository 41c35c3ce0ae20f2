"""NCNN networks: their files, and what pnnx makes of our graphs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy import api
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import ExportError, MissingExtraError, UsageError
from ghost_deploy.export import pnnx
from ghost_deploy.export.cut_graph import cut_graph
from ghost_deploy.export.ncnn import converted, write_ncnn
from ghost_deploy.export.ncnn_net import NcnnNet, is_int8, read_layers
from ghost_deploy.export.plan import plan_export, plan_spec
from ghost_deploy.export.pnnx import convert, require_same_maps
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.judge.parity.gate import GATES
from ghost_deploy.judge.parity.prove import run_parity
from tests.support.anchor_detectors import anchor_net, anchor_spec
from tests.support.assets import CHECKPOINTS, needs_assets, val_images
from tests.support.exports import export_artifacts
from tests.support.runtime_cases import write_ncnn as write_by_hand
from tests.support.tiny_detectors import FakeLoaded, tiny_loaded, tiny_net, tiny_spec
from tests.support.zoo_networks import spec_of, zoo_net

pytest.importorskip("ncnn")
needs_pnnx = pytest.mark.skipif(
    importlib.util.find_spec("pnnx") is None, reason="pnnx is not installed"
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return write_by_hand(tmp_path / "model.param")


def no_magic(param: Path) -> None:
    param.write_text("7767518\n")


def cut_line(param: Path) -> None:
    param.write_text(param.read_text().replace("1 1 soft map", "1"))


def longer(param: Path) -> None:
    weights = param.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes() + bytes(8))


def shorter(param: Path) -> None:
    weights = param.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-8])


def compressed(param: Path) -> None:
    weights = param.with_suffix(".bin")
    weights.write_bytes((0x01306B47).to_bytes(4, "little") + weights.read_bytes()[4:])


def unknown_layer(param: Path) -> None:
    param.write_text(param.read_text().replace("Sigmoid ", "LSTM "))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (no_magic, "no NCNN network"),
        (cut_line, "the line"),
        (longer, "belong to no layer"),
        (shorter, "ends within"),
        (compressed, "not float32"),
        (unknown_layer, "a layer LSTM"),
    ],
)
def test_files_that_cannot_be_used(
    files: Path, change: Callable[[Path], None], message: str
) -> None:
    change(files)
    with pytest.raises(ExportError, match=message):
        NcnnNet.read(files, files.with_suffix(".bin"))


def test_a_network_is_written_as_it_was_read(files: Path, tmp_path: Path) -> None:
    net = NcnnNet.read(files, files.with_suffix(".bin"))
    weights = net.write(tmp_path / "again.param")
    assert weights.read_bytes() == files.with_suffix(".bin").read_bytes()
    again = NcnnNet.read(tmp_path / "again.param", weights)
    assert [each.params for each in again.layers] == [each.params for each in net.layers]
    assert not any(map(is_int8, read_layers(tmp_path / "again.param")))
    half = net.write(tmp_path / "half.param", half=True)
    # A tag, 21 weights of two bytes filled up to four, seven biases of four.
    assert half.stat().st_size == 4 + 44 + 7 * 4


@pytest.mark.parametrize(
    ("layer", "tagged"),
    [
        ("Convolution1D c 1 1 in out 0=2 1=3 5=1 6=6", [(6, True), (2, False)]),
        ("Convolution1D c 1 1 in out 0=1 1=3 6=3", [(3, True)]),
        ("GroupNorm g 1 1 in out 0=4 1=8 2=1e-5", [(8, False), (8, False)]),
        ("GroupNorm g 1 1 in out 0=4 1=8 2=1e-5 3=0", []),
        ("LayerNorm l 1 1 in out 0=5 1=1e-5 2=1", [(5, False), (5, False)]),
        ("RMSNorm l 1 1 in out 0=5 1=1e-5", [(5, False)]),
        ("Bias b 1 1 in out 0=3", [(3, False)]),
        ("Erf e 1 1 in out", []),
    ],
)
def test_weights_of_layers(layer: str, tagged: list[tuple[int, bool]], tmp_path: Path) -> None:
    """As `load_model` of each layer of NCNN reads them."""
    param, weights = tmp_path / "a.param", tmp_path / "a.bin"
    param.write_text(f"7767517\n2 2\nInput in 0 1 in\n{layer}\n")
    content = b""
    for count, tag in tagged:
        content += bytes(4 * tag) + np.arange(count, dtype="<f4").tobytes()
    weights.write_bytes(content)
    net = NcnnNet.read(param, weights)
    assert [len(each) for each in net.layers[1].weights] == [count for count, _ in tagged]
    assert net.layers[1].tagged == [tag for _, tag in tagged]
    assert net.write(tmp_path / "again.param").read_bytes() == content


def test_what_pnnx_leaves_as_it_was_is_named(tmp_path: Path) -> None:
    param, weights = tmp_path / "a.param", tmp_path / "a.bin"
    param.write_text("7767517\n2 2\nInput in 0 1 in\nTensor.slice s 1 1 in out\n")
    weights.write_bytes(b"")
    with pytest.raises(ExportError, match=r"Tensor\.slice, for which pnnx has no layer of NCNN"):
        NcnnNet.read(param, weights)


def test_without_pnnx_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pnnx" else real(name)
    )
    with pytest.raises(MissingExtraError, match="pip install --no-deps pnnx"):
        plan_export(["ncnn"])
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "ncnn" else real(name)
    )
    with pytest.raises(MissingExtraError, match=r"\[ncnn\]"):
        plan_export(["ncnn"])


@pytest.mark.parametrize("script", ["exit 0", "echo 'no such layer' >&2; exit 3"])
def test_a_converter_that_writes_nothing_is_an_error_whatever_it_returns(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pnnx"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(pnnx, "_program", lambda: program)
    spec = tiny_spec()
    with pytest.raises(ExportError, match="pnnx could not convert"):
        convert(cut_graph(onnx_from_net(tiny_net(), spec, "fp32"), spec), tmp_path)


@needs_pnnx
def test_a_network_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    spec = tiny_spec()
    source = tmp_path / "model.onnx"
    source.write_bytes(onnx_from_net(tiny_net(), spec, "fp32").SerializeToString())
    before = source.read_bytes()
    (tmp_path / "work").mkdir()
    cut, net = converted(source, spec, tmp_path / "work")
    assert source.read_bytes() == before
    param, *_ = write_ncnn(net, tmp_path / "right", cut.spec)
    require_same_maps(cut, param, cut.spec, "fp32")
    last = net.convolutions[-1]
    last.weights[1] = np.add(last.weights[1], 1.0)
    param, *_ = write_ncnn(net, tmp_path / "wrong", cut.spec)
    with pytest.raises(ExportError, match="differ by"):
        require_same_maps(cut, param, cut.spec, "fp32")
    param.write_text(param.read_text().replace("Swish ", "Nothing "))
    with pytest.raises(ExportError, match="does not run"):
        require_same_maps(cut, param, cut.spec, "fp32")


def exported(loaded: Any, folder: Path, **shape: Any) -> Bundle:
    """ONNX in fp32, NCNN in fp32 and fp16."""
    with BundleWriter(folder) as writer:
        spec, _ = export_artifacts(
            loaded, writer, formats=["ncnn"], precisions=["fp32", "fp16"], **shape
        )
        writer.draft(spec, loaded.source, "test")
        return writer.finish()


def network(name: str) -> Any:
    if name in ("dfl", "one2one"):
        return tiny_loaded(one2one=name == "one2one")
    if name == "anchors":
        net = anchor_net()
        return FakeLoaded(net, anchor_spec(net), tiny_loaded().source)
    net = zoo_net(name)
    return FakeLoaded(net, spec_of(net, (128, 160)), tiny_loaded().source)


SLOW = ("yolov8n-ghost", "yolov8n-ghostnet", "yolov8n-c2f-ghostbottleneckv2", "yolov5n-ghost")


@needs_pnnx
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("dfl", {"dynamic": True, "embedded": True}),
        ("one2one", {}),
        ("anchors", {}),
        *(pytest.param(name, {}, marks=pytest.mark.slow) for name in SLOW),
    ],
)
def test_networks_pass_their_gates(name: str, shape: Any, tmp_path: Path) -> None:
    loaded = network(name)
    bundle = exported(loaded, tmp_path / "bundle", **shape)
    report = run_parity(loaded, bundle)
    rows = {row.artifact: row for row in report.rows}
    for precision in ("fp32", "fp16"):
        row = rows[f"ncnn-{precision}"]
        assert row.tensor is not None
        assert row.tensor.compared > 0
        assert row.detections is not None
        # Weights that were not trained multiply what rounding does, mostly in few places.
        if precision == "fp32":
            assert row.tensor.score.p99 <= GATES["fp32"].max_raw_score
            assert row.tensor.box_px.p99 <= GATES["fp32"].max_raw_box_px
        is_trained = name in ("dfl", "one2one")
        assert row.status == "passed" or not is_trained, row.reasons
        assert row.detections.matched_share > (0.9 if is_trained else 0.8)
    large, small = (
        bundle.verified_path(bundle.artifact("ncnn", each)).with_suffix(".bin").stat().st_size
        for each in ("fp32", "fp16")
    )
    assert small < 0.6 * large


@needs_pnnx
@needs_assets
@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_real_model_by_the_command(checkpoint: Path, tmp_path: Path) -> None:
    images = val_images()[:16]
    bundle = api.export(checkpoint, tmp_path / "out", ["ncnn"], ["fp32", "fp16"], images=images)
    report = bundle.evidence.parity
    assert report is not None
    for row in report.rows:
        assert row.status == "passed", row.reasons
    fp32 = next(row for row in report.rows if row.precision == "fp32")
    assert fp32.tensor is not None
    assert fp32.tensor.box_px.max < 1e-3
    with api.load(bundle, "ncnn") as detector:
        assert sum(map(len, detector.detect(images))) > 200


def test_no_nms_can_follow_inside() -> None:
    plan = plan_export(["ncnn"], ["fp32"])
    assert plan.nms_decoder(tiny_spec(), nms=False, dynamic=True) == ""
    with pytest.raises(UsageError, match="ncnn is made without NMS inside"):
        plan.nms_decoder(tiny_spec())


def test_the_plan_has_an_fp32_graph_for_int8() -> None:
    plan = plan_export(["ncnn"], ["int8"], calibrated=True)
    assert [target.id for target in plan.graphs] == ["onnx-fp32", "ncnn-fp32"]
    assert plan.int8_formats == ("ncnn",)
    assert plan_spec(tiny_spec()).head.maps == ()
