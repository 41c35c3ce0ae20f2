"""NMS in the graph by the standard operator: what it finds is what the host finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import openvino
import pytest
from numpy.typing import NDArray

from ghost_deploy import api
from ghost_deploy.core.bundle import FORM_KEY, Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import EMBEDDED_NMS_SCORE, ModelSpec, Thresholds
from ghost_deploy.export.nms_graph import (
    append_graph_nms,
    append_graph_nms_to_bundle,
    nms_tail,
    with_graph_nms,
)
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.processing.embedded_nms import embedded_nms
from ghost_deploy.processing.images import read_image
from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.exports import export_artifacts
from tests.support.images import random_tensor
from tests.support.model_specs import make_spec
from tests.support.onnx_sessions import run_onnx
from tests.support.tiny_detectors import tiny_loaded, tiny_net, tiny_spec

LIMITS = Thresholds(iou=0.5, max_det=50)
BOX_PX, SCORE = 1e-3, 1e-6
"""The stated tolerance: the host moves classes 7680 px apart, where float32 has steps of 0.0005."""


def spec_of(classes: int, limits: Thresholds = LIMITS, **size: Any) -> ModelSpec:
    names = tuple(map(str, range(classes)))
    return with_graph_nms(make_spec((128, 128), names=names, thresholds=limits, **size))


def raw_output(
    spec: ModelSpec, size_hw: tuple[int, int], share: float, batch: int = 1, seed: int = 0
) -> NDArray[np.float32]:
    """Boxes anywhere, and scores in `share` of the anchors."""
    rng = np.random.default_rng(seed)
    anchors = spec.head.anchors(size_hw)
    centre = rng.uniform(0, size_hw[0], (batch, 2, anchors))
    size = rng.uniform(4, 50, (batch, 2, anchors))
    scores = rng.uniform(0, 1, (batch, spec.num_classes, anchors))
    scores *= rng.uniform(0, 1, (batch, 1, anchors)) < share
    return np.concatenate([centre, size, scores], axis=1).astype(np.float32)


def run_ort(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return run_onnx(model, x)[0]


def run_openvino(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    core = openvino.Core()
    read = core.read_model(model.SerializeToString())
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(x)[0])


def in_order(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Equal scores in the order of x: their order is the runtime's own."""
    return np.stack([each[np.lexsort((each[:, 0], -each[:, 4]))] for each in rows])


def require_equal(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    assert got.dtype == np.float32
    assert got.shape == wanted.shape
    first, second = in_order(got), in_order(wanted)
    np.testing.assert_allclose(first[..., :4], second[..., :4], rtol=0, atol=BOX_PX)
    np.testing.assert_allclose(first[..., 4], second[..., 4], rtol=0, atol=SCORE)
    np.testing.assert_array_equal(first[..., 5], second[..., 5])


CASES = {
    "three classes": spec_of(3),
    "one class": spec_of(1),
    "eighty classes": spec_of(80),
    "agnostic": spec_of(3, Thresholds(iou=0.5, max_det=50, agnostic=True)),
    "more rows than anchors": spec_of(3, Thresholds(max_det=1000)),
    "everything overlaps": spec_of(3, Thresholds(iou=0.0, max_det=50)),
    "nothing overlaps": spec_of(3, Thresholds(iou=1.0, max_det=50)),
}


@pytest.mark.parametrize("opset", [12, 13, 17, 20])
@pytest.mark.parametrize("name", CASES)
def test_the_operator_finds_what_the_host_finds(name: str, opset: int) -> None:
    spec = CASES[name]
    model = nms_tail(spec, opset)
    onnx.checker.check_model(model, full_check=True)
    for share in (0.0, 0.01, 0.1, 0.9):
        raw = raw_output(spec, (128, 128), share)
        wanted = embedded_nms(raw[0], spec, (128, 128))[None]
        assert (wanted[..., 4] > 0).any() == (share > 0)
        require_equal(run_ort(model, raw), wanted)
        if opset in (12, 20):
            own = nms_tail(spec, opset, drops_equal=True)
            require_equal(run_openvino(own, raw), wanted)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("side", [32, 128, 256])
def test_any_batch_and_size_of_a_dynamic_graph(side: int, batch: int) -> None:
    spec = spec_of(3, batch=(1, 4), min_hw=(32, 32), max_hw=(256, 256))
    raw = raw_output(spec, (side, side), 0.3, batch)
    wanted = np.stack([embedded_nms(each, spec, (side, side)) for each in raw])
    require_equal(run_ort(nms_tail(spec, 17), raw), wanted)
    require_equal(run_openvino(nms_tail(spec, 17, drops_equal=True), raw), wanted)


def test_scores_at_the_floor_are_left_out() -> None:
    spec = spec_of(2)
    raw = np.zeros((1, 6, spec.head.anchors((128, 128))), np.float32)
    floor = np.float32(EMBEDDED_NMS_SCORE)
    raw[0, :, 0] = 20, 20, 10, 10, floor, 0
    raw[0, :, 1] = 60, 60, 10, 10, 0, np.nextafter(floor, np.float32(1))
    for run in (run_ort, run_openvino):
        rows = run(nms_tail(spec, 17), raw)[0]
        np.testing.assert_allclose(rows[0], [55, 55, 65, 65, floor, 1])
        assert not rows[1:].any()


def test_an_overlap_equal_to_the_limit_is_kept() -> None:
    """Two boxes that share half of their union; a third lies a little nearer."""
    spec = spec_of(1, Thresholds(iou=0.5, max_det=50))
    raw = np.zeros((1, 5, spec.head.anchors((128, 128))), np.float32)
    raw[0, :, 0] = 40, 40, 40, 40, 0.9
    raw[0, :, 1] = 40, 40, 20, 40, 0.8
    raw[0, :, 2] = 40, 40, 40, 20.5, 0.7
    for run, drops in ((run_ort, False), (run_openvino, True)):
        rows = run(nms_tail(spec, 17, drops_equal=drops), raw)[0]
        np.testing.assert_allclose(rows[:3, 4], [0.9, 0.8, 0])


def test_the_best_class_of_an_anchor_is_the_first_of_equal_ones() -> None:
    spec = spec_of(3)
    raw = np.zeros((1, 7, spec.head.anchors((128, 128))), np.float32)
    raw[0, :, 5] = 20, 20, 10, 10, 0.25, 0.5, 0.5
    rows = run_ort(nms_tail(spec, 17), raw)[0]
    np.testing.assert_array_equal(rows[0], [15, 15, 25, 25, 0.5, 1])
    assert not rows[1:].any()


@pytest.fixture(scope="module")
def plain_spec() -> ModelSpec:
    return msgspec.structs.replace(plan_spec(tiny_spec()), thresholds=LIMITS)


@pytest.fixture(scope="module")
def plain(plain_spec: ModelSpec) -> onnx.ModelProto:
    return onnx_from_net(tiny_net(), plain_spec, "fp32")


def test_a_whole_graph(plain: onnx.ModelProto, plain_spec: ModelSpec) -> None:
    before = plain.SerializeToString(deterministic=True)
    spec = with_graph_nms(plain_spec)
    model = append_graph_nms(plain, spec)
    assert plain.SerializeToString(deterministic=True) == before
    (output,) = model.graph.output
    shape = [dim.dim_value for dim in output.type.tensor_type.shape.dim]
    assert (output.name, shape) == ("output0", [1, 50, 6])
    text = {item.key: item.value for item in model.metadata_props}
    assert ModelSpec.from_json(text[ModelSpec.Json]) == spec
    assert "'nms': True" in text["args"]
    x = random_tensor((1, 3, *spec.input.size_hw), 3)
    wanted = embedded_nms(run_ort(plain, x)[0], spec, spec.input.size_hw)[None]
    assert (wanted[..., 4] > 0).sum() > 10
    require_equal(run_ort(model, x), wanted)


def test_what_a_file_says_of_itself_stays(plain: onnx.ModelProto, plain_spec: ModelSpec) -> None:
    int8 = onnx.ModelProto()
    int8.CopyFrom(plain)
    int8.metadata_props.add(key=FORM_KEY, value="ort-x86")
    model = append_graph_nms(int8, with_graph_nms(plain_spec))
    assert {item.key: item.value for item in model.metadata_props}[FORM_KEY] == "ort-x86"


@pytest.mark.parametrize("one2one", [True])
def test_what_needs_none_is_refused(one2one: bool) -> None:
    with pytest.raises(UsageError, match="one2one"):
        with_graph_nms(tiny_spec(one2one=one2one))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A tiny detector in both formats and precisions, with NMS."""
    loaded: Any = tiny_loaded()
    with BundleWriter(tmp_path_factory.mktemp("nms") / "bundle") as writer:
        spec, _ = export_artifacts(loaded, writer)
        draft = writer.draft(spec, loaded.source, "test")
        append_graph_nms_to_bundle(writer, draft).save()
        return writer.finish()


def test_a_bundle_of_all_formats(bundle: Bundle) -> None:
    assert bundle.spec.head.decoder == "nms"
    read = Bundle.read(bundle.path, verify=True)
    assert [each.id for each in read.artifacts] == [
        "onnx-fp32", "onnx-fp16", "openvino-fp32", "openvino-fp16",
    ]  # fmt: skip
    image = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    found = {}
    for runtime in ("ort", "openvino"):
        for precision in ("fp32", "fp16"):
            with api.load(read, runtime, precision, check=False, conf=0.05) as detector:
                found[runtime, precision] = detector(image)
    first = found["ort", "fp32"]
    assert len(first) > 5
    np.testing.assert_allclose(found["openvino", "fp32"].xyxy, first.xyxy, atol=1e-3)
    np.testing.assert_array_equal(found["openvino", "fp32"].class_id, first.class_id)
    assert abs(len(found["openvino", "fp16"]) - len(first)) <= 2


def test_the_limits_of_an_fp16_ir_are_not_rounded(bundle: Bundle) -> None:
    path = bundle.path / bundle.artifact("openvino", "fp16").path
    values = [
        float(node.get_data().ravel()[0])
        for node in openvino.Core().read_model(path).get_ordered_ops()
        if node.get_type_name() == "Constant" and node.get_element_type() == openvino.Type.f32
    ]
    assert np.nextafter(np.float32(0.7), np.float32(1)) in np.float32(values)
    assert np.float32(EMBEDDED_NMS_SCORE) in np.float32(values)


def test_another_limit_than_that_of_the_graph_is_refused(bundle: Bundle) -> None:
    for changes in ({"iou": 0.5}, {"agnostic": True}):
        with pytest.raises(UsageError, match="part of this model"):
            api.load(bundle, "ort", check=False, **changes)
    with api.load(bundle, "ort", check=False, conf=0.5, max_det=2) as detector:
        assert detector.thresholds.max_det == 2


def test_int8_is_not_made_of_it(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NMS inside its graphs"):
        api.calibrate(bundle, tmp_path)


@needs_assets
@pytest.mark.parametrize("agnostic", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_trained_detector_finds_the_same(tmp_path: Path, agnostic: bool) -> None:
    images = val_images()[:4]
    for path in images:
        (tmp_path / path.name).symlink_to(path)
    made = api.export(GHOST, tmp_path / "b", images=tmp_path, nms=True, agnostic=agnostic)
    assert made.evidence.parity is not None
    assert made.evidence.parity.passed
    plain = api.load(GHOST, "eager", agnostic=agnostic)
    for runtime in ("ort", "openvino"):
        with api.load(made, runtime) as detector:
            for path in images:
                image = read_image(path)
                wanted, got = plain(image), detector(image)
                assert len(got) == len(wanted) > 5
                np.testing.assert_allclose(got.xyxy, wanted.xyxy, atol=0.01)
                np.testing.assert_allclose(got.score, wanted.score, atol=1e-4)
