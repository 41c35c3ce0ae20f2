"""A graph that ends in the maps of its head, decoded on the host, finds what the whole one does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import ModelProto

from ghost_deploy import api
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import ExportError, UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.cut_graph import CutGraph, cut_graph
from ghost_deploy.export.nms_graph import append_graph_nms, with_graph_nms
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.zoo_yaml import build_zoo
from tests.support.anchor_detectors import anchor_net, anchor_spec
from tests.support.assets import CHECKPOINTS, needs_assets, val_images
from tests.support.exports import shared_float_bundle
from tests.support.images import random_tensor
from tests.support.onnx_sessions import run_onnx
from tests.support.tiny_detectors import tiny_loaded, tiny_net, tiny_spec
from tests.support.trained_like_weights import condition
from tests.support.zoo_networks import spec_of, zoo_net

FAMILIES = ("yolov8n-ghost", "yolov8n-ghostnet", "yolov8n-c2f-ghostbottleneckv2", "yolov5n-ghost")


def net_and_spec(name: str) -> tuple[DetectionNet, ModelSpec]:
    if name == "anchors":
        net = anchor_net()
        return net, anchor_spec(net)
    if name in ("one2one", "one bin"):
        fields: dict[str, Any] = {"one2one": True} if name == "one2one" else {"reg_max": 1}
        return tiny_net(**fields), tiny_spec(**fields)
    if name == "as many classes as bins":
        net = condition(build_zoo("yolov8n-ghost", nc=64))
        spec = spec_of(zoo_net("yolov8n-ghost"), (64, 96))
        return net, msgspec.structs.replace(spec, class_names=tuple(map(str, range(64))))
    return zoo_net(name), spec_of(zoo_net(name), (64, 96))


def whole_graph(name: str, **shape: Any) -> tuple[ModelProto, ModelSpec]:
    net, spec = net_and_spec(name)
    spec = plan_spec(spec, **shape)
    return onnx_from_net(net, spec, "fp32"), spec


def test_a_graph_with_nms_inside_is_refused() -> None:
    whole, spec = whole_graph("one bin")
    with pytest.raises(UsageError, match="without --nms"):
        cut_graph(append_graph_nms(whole, spec), with_graph_nms(spec))


@pytest.mark.parametrize("fault", ["another weight", "no convolution", "another stride"])
def test_a_graph_that_is_not_what_its_description_says_is_refused(fault: str) -> None:
    whole, spec = whole_graph("one bin")
    if fault == "another stride":
        head = msgspec.structs.replace(spec.head, strides=(8, 32))
        spec = msgspec.structs.replace(
            spec, head=head, input=msgspec.structs.replace(spec.input, stride=32)
        )
    elif fault == "another weight":  # behind the maps: a decoding with another stride
        for tensor in whole.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.ndim < 4 and set(np.unique(values)) == {8.0, 16.0}:
                tensor.CopyFrom(onnx.numpy_helper.from_array(values * 2, tensor.name))
    else:
        del whole.graph.node[:]
        whole.graph.node.append(onnx.helper.make_node("Identity", ["images"], ["output0"]))
    with pytest.raises(ExportError, match="cut"):
        cut_graph(whole, spec)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *((name, {}) for name in (*FAMILIES[1:], "anchors", "one2one", "one bin")),
        ("as many classes as bins", {}),
        *((name, {"dynamic": True, "embedded": True}) for name in ("anchors", "one2one")),
        (FAMILIES[2], {"dynamic": True, "embedded": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "any size" if value else "fixed",
)
def test_the_maps_decode_to_the_output_of_the_whole_graph(name: str, shape: Any) -> None:
    whole, spec = whole_graph(name, **shape)
    before = whole.SerializeToString()
    for layout in ("logits", "rockchip"):
        cut = cut_graph(whole, spec, layout)  # type: ignore[arg-type]
        onnx.checker.check_model(cut.model, full_check=True)
        _check_maps(cut, spec)
        if layout == "rockchip" and not spec.head.anchor_sizes:
            _check_rockchip(cut)
    assert whole.SerializeToString() == before


def _check_maps(cut: CutGraph, spec: ModelSpec) -> None:
    names = [value.name for value in cut.model.graph.output]
    assert names == [name for level in cut.spec.head.maps for name in level]
    own = cut.spec.input
    assert own.min_hw == own.max_hw == own.size_hw == spec.input.size_hw
    assert (own.batch, own.dtype, own.layout) == ((1, 1), "float32", "nchw")
    shapes = dict(
        zip(names, run_onnx(cut.model, random_tensor(own.shape(1, own.size_hw))), strict=True)
    )
    assert {name: array.shape for name, array in shapes.items()} == cut.spec.output_shapes()
    described = {each.key: each.value for each in cut.model.metadata_props}
    assert ModelSpec.from_json(described[ModelSpec.Json]) == cut.spec


def _check_rockchip(cut: CutGraph) -> None:
    names = [value.name for value in cut.model.graph.output]
    tensor = random_tensor(cut.spec.input.shape(1, cut.spec.input.size_hw))
    found = dict(zip(names, run_onnx(cut.model, tensor), strict=True))
    for _, score, total in cut.spec.head.maps:
        assert 0 < found[score].min() <= found[score].max() < 1
        wanted = np.clip(found[score].sum(axis=1, keepdims=True), 0, 1)
        np.testing.assert_allclose(found[total], wanted, rtol=1e-5)


@needs_assets
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_real_model_finds_the_same_through_its_maps(
    checkpoint: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = shared_float_bundle(checkpoint, tmp_path_factory).bundle
    whole = bundle.verified_path(bundle.artifact("onnx", "fp32"))
    cut = cut_graph(onnx.load(whole), bundle.spec)
    onnx.save(cut.model, tmp_path / "cut.onnx")
    images = val_images()[:4]
    with api.load(whole) as first, api.load(tmp_path / "cut.onnx") as second:
        wanted, found = first.detect(images, conf=0.01), second.detect(images, conf=0.01)
    assert sum(map(len, wanted)) > 100
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(other.class_id, one.class_id)
        np.testing.assert_allclose(other.xyxy, one.xyxy, atol=1e-2)
        np.testing.assert_allclose(other.score, one.score, atol=1e-5)


@pytest.fixture(params=[False, True], ids=["dfl", "one2one"])
def cut_bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    """Of any size and of pixels, with an artifact that is cut and of one size."""
    loaded = tiny_loaded(one2one=request.param)
    spec = plan_spec(loaded.spec, dynamic=True, embedded=True)
    cut = cut_graph(onnx_from_net(loaded.net, spec, "fp32"), spec)
    with BundleWriter(tmp_path / "cut") as writer:
        path = writer.folder / "model.onnx"
        onnx.save(cut.model, path)
        writer.add(
            format="onnx",
            precision="fp32",
            path=path,
            parent="ab" * 32,
            tools={},
            head=cut.spec.head,
            input=cut.spec.input,
        )
        writer.draft(spec, loaded.source, "test")
        return writer.finish()


def test_an_artifact_has_a_description_of_its_own(cut_bundle: Bundle, tmp_path: Path) -> None:
    from ghost_deploy.judge.parity.prove import run_parity
    from ghost_deploy.judge.parity.self_check import self_check
    from ghost_deploy.judge.parity.store_reference import store_reference
    from ghost_deploy.runtimes.base import RuntimeOptions

    loaded = tiny_loaded(one2one=cut_bundle.spec.head.end_to_end)
    (artifact,) = cut_bundle.artifacts
    assert cut_bundle.spec_of(artifact) != cut_bundle.spec
    report = run_parity(loaded, cut_bundle)  # type: ignore[arg-type]
    (row,) = report.rows
    assert row.status == "passed", row.reasons
    assert row.detections is not None
    assert row.detections.total > 0
    cut_bundle = store_reference(loaded, cut_bundle, None)  # type: ignore[arg-type]
    cut_bundle.save()
    checked = self_check(cut_bundle, artifact, "ort", RuntimeOptions())
    assert checked is not None
    assert checked.status == "passed", checked.reasons
    with api.load(cut_bundle.path) as detector:
        assert detector.spec.head.maps
        assert len(detector.detect([np.zeros((90, 120, 3), np.uint8)] * 3)) == 3
