"""Int8 networks for NCNN: levels and scales as ours, sums as in whole numbers."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from ghost_deploy.calib.executed import executed
from ghost_deploy.calib.forms import int8_form
from ghost_deploy.calib.quantize.ncnn_int8 import write_ncnn_file
from ghost_deploy.calib.quantize.qdq import QdqGraph
from ghost_deploy.core.bundle import FORM_KEY
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.head_maps import find_maps
from ghost_deploy.export.ncnn_net import is_int8, read_layers
from ghost_deploy.export.onnx_index import OnnxIndex
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.table import open_file
from tests.support.int8_forms import quantize
from tests.support.onnx_sessions import run_onnx
from tests.support.small_graphs import statistics_of
from tests.support.tiny_detectors import tiny_net, tiny_spec

pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("ncnn", "pnnx")),
    reason="ncnn or pnnx is not installed",
)


def images(spec: ModelSpec, count: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(spec.input.graph_shape(), dtype=np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ncnn") / "model.onnx"
    path.write_bytes(onnx_from_net(tiny_net(), tiny_spec(), "fp32").SerializeToString())
    return path


def graph_of(source: Path, label: str = "") -> QdqGraph:
    model = onnx.load(source)
    form = int8_form("ncnn")
    options = {"": form.options, **form.variants}[label]
    statistics = statistics_of(model, images(tiny_spec()))
    return replace(quantize(model, statistics, "ncnn", options), source=source)


@pytest.fixture(scope="module")
def folder(source: Path) -> Path:
    """The scratch folder that all files of a module share."""
    scratch = source.parent / "scratch"
    scratch.mkdir()
    return scratch


def written(graph: QdqGraph, folder: Path, name: str) -> Path:
    place = folder / name
    place.mkdir()
    return write_ncnn_file(graph, place, tiny_spec()).path


def with_maps(graph: ModelProto, names: Sequence[str]) -> ModelProto:
    """A graph with other tensors as outputs."""
    changed = ModelProto()
    changed.CopyFrom(graph)
    del changed.graph.output[:]
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return changed


@pytest.mark.parametrize(("label", "share"), [("", 0.01), ("depthwise int8", 0.8)])
def test_the_network_computes_what_the_graph_does(
    source: Path, folder: Path, label: str, share: float
) -> None:
    graph = graph_of(source, label)
    path = written(graph, folder, f"file {label}".replace(" ", "-"))
    (image,) = images(tiny_spec(), 1)
    with open_file("ncnn", path, RuntimeOptions(precision="int8")) as runtime:
        found = runtime.run({"images": image})
        assert runtime.metadata()[FORM_KEY] == "ncnn"
    model = onnx.load(source)
    maps = find_maps(OnnxIndex(model), tiny_spec())
    names = {f"box{stride}": level[0][0] for stride, level in maps.items()}
    names |= {f"class{stride}": level[1][0] for stride, level in maps.items()}
    floats = run_onnx(with_maps(model, list(names.values())), image)
    wanted = run_onnx(with_maps(graph.model, list(names.values())), image)
    assert found.keys() == names.keys()
    for name, float_map, int8_map in zip(names, floats, wanted, strict=True):
        # Its depthwise kernels round some values the other way, which moves what follows.
        own = np.abs(found[name] - int8_map).mean()
        rounding = np.abs(float_map - int8_map).mean()
        assert own < share * rounding, (name, own, rounding)


def test_what_runs_in_int8_is_read_from_the_layers(source: Path, folder: Path) -> None:
    graph = graph_of(source)
    path = written(graph, folder, "share")
    found = executed(path, tiny_spec().input.size_hw)
    assert found.runtime == "ncnn"
    assert found.share == pytest.approx(graph.macs_planned, abs=0.02)
    layers = read_layers(path)
    kinds = {layer.type for layer in layers if is_int8(layer)}
    assert kinds == {"Convolution"}
    assert not is_int8(next(layer for layer in layers if layer.type == "Convolution"))
    deep = executed(written(graph_of(source, "depthwise int8"), folder, "deep"), (96, 128))
    assert deep.share > found.share
    assert "ConvolutionDepthWise int8" in deep.kernels


def test_an_int8_file_is_a_quarter_of_the_float_one(source: Path, folder: Path) -> None:
    path = written(graph_of(source), folder, "size")
    ratio = path.with_suffix(".bin").stat().st_size / source.stat().st_size
    assert ratio < 0.45  # the float layers, biases and scales of a tiny network weigh most


def test_corrected_biases_are_written(source: Path, folder: Path) -> None:
    graph = graph_of(source)
    model = ModelProto()
    model.CopyFrom(graph.model)
    by_name = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and len(node.input) > 2:
            tensor = by_name[node.input[2]]
            values = onnx.numpy_helper.to_array(tensor) + np.float32(1)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    path = written(replace(graph, model=model), folder, "biases")
    (image,) = images(tiny_spec(), 1)
    plain = written(graph, folder, "no-biases")
    with open_file("ncnn", path) as one, open_file("ncnn", plain) as other:
        first, second = one.run({"images": image}), other.run({"images": image})
    assert all(np.abs(first[name] - second[name]).max() > 0.3 for name in first)


def test_other_files_have_no_kernels(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.param"):
        executed(tmp_path / "model.bin", (64, 64))
