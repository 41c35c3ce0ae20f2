from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, numpy_helper

from ghost_deploy.calib.forms import FORMS, int8_form
from ghost_deploy.calib.quantize.conventions import NAIVE, PlacementOptions
from ghost_deploy.calib.quantize.lint import lint
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.core.bundle import FORM_KEY, GUARD, GUARD_KEY
from ghost_deploy.core.errors import InputError
from tests.support.int8_forms import quantize
from tests.support.small_graphs import Net, ghost_net, random_inputs, run, statistics_of
from tests.support.zoo_networks import GRAPH_SIZE_HW, zoo_graph

ALL_INT8 = PlacementOptions()
FLOAT_DEPTHWISE = PlacementOptions(first_conv="float", depthwise="float")


@pytest.fixture(scope="module")
def model() -> ModelProto:
    return ghost_net()


@pytest.fixture(scope="module")
def statistics(model: ModelProto) -> dict[str, TensorStatistics]:
    return statistics_of(model, random_inputs())


def executed(model: ModelProto) -> ModelProto:
    """The graph that ONNX Runtime makes of `model` for this processor."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "optimized.onnx")
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return onnx.load(path)


def worst(first: ModelProto, second: ModelProto) -> float:
    return max(
        float(np.abs(run(first, x)[0] - run(second, x)[0]).max()) for x in random_inputs(3, seed=9)
    )


def test_statistics_of_another_model_are_refused(model: ModelProto) -> None:
    with pytest.raises(InputError, match="statistics"):
        quantize(model, {}, "tensorrt")


def test_a_quantized_model_is_refused(
    model: ModelProto, statistics: dict[str, TensorStatistics]
) -> None:
    once = quantize(model, statistics, "tensorrt").model
    with pytest.raises(InputError, match="already"):
        quantize(once, statistics, "tensorrt")


@pytest.mark.parametrize("form", FORMS)
def test_the_int8_graph_computes_about_the_same(
    model: ModelProto, statistics: dict[str, TensorStatistics], form: str
) -> None:
    before = model.SerializeToString()
    found = quantize(model, statistics, form, ALL_INT8, method="minmax")
    assert 0 < worst(model, found.model) < 0.05
    assert model.SerializeToString() == before
    again = quantize(model, statistics, form, ALL_INT8, method="minmax")
    assert found.model.SerializeToString(True) == again.model.SerializeToString(True)
    guard = {GUARD_KEY: GUARD} if int8_form(form).convention.overflow_guard else {}
    written = {item.key: item.value for item in found.model.metadata_props}
    assert written == {FORM_KEY: form, **guard}
    assert 0.9 < found.macs_planned < 1


def test_the_naive_setting_has_one_scale_for_all_channels(
    model: ModelProto, statistics: dict[str, TensorStatistics]
) -> None:
    for form in FORMS:
        careful = quantize(model, statistics, form, ALL_INT8)
        naive = quantize(model, statistics, form, NAIVE)
        assert np.ptp(naive.weight_scales["dense"]) == 0 < np.ptp(careful.weight_scales["dense"])
        assert "last" in naive.weight_scales.keys() - careful.weight_scales.keys()
        assert np.isfinite(worst(model, naive.model))


def test_only_the_tensorrt_form_obeys_its_parser(
    model: ModelProto, statistics: dict[str, TensorStatistics]
) -> None:
    # The graph of the form `ncnn` is in no file: it carries levels and scales to NCNN's own.
    forms = [form for form in FORMS if form != "ncnn"]
    found = {form: lint(quantize(model, statistics, form).model) for form in forms}
    assert [form for form, findings in found.items() if not findings] == ["tensorrt"]


def test_weights_on_a_known_grid_are_reproduced(
    model: ModelProto, statistics: dict[str, TensorStatistics]
) -> None:
    first = quantize(model, statistics, "tensorrt", ALL_INT8)
    rounded = ModelProto()
    rounded.CopyFrom(model)
    by_name = {tensor.name: tensor for tensor in rounded.graph.initializer}
    for name, scales in first.weight_scales.items():
        tensor = by_name[f"{name}.weight"]
        weight = numpy_helper.to_array(tensor)
        steps = scales.reshape(-1, 1, 1, 1)
        # One level away from the nearest, as reconstruction would choose.
        levels = np.clip(np.floor(weight / steps), -127, 127).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(levels * steps, tensor.name))
    for form in FORMS:
        found = quantize(rounded, statistics, form, ALL_INT8, weight_scales=first.weight_scales)
        for name, scales in found.weight_scales.items():
            assert np.array_equal(scales, first.weight_scales[name])
            (got,) = run(found.model, random_inputs(1)[0], [f"{name}/weight/rounded"])
            assert np.array_equal(got, numpy_helper.to_array(by_name[f"{name}.weight"]))


def test_a_bias_fits_int32_where_a_channel_has_hardly_any_weights(
    statistics: dict[str, TensorStatistics],
) -> None:
    model = ghost_net()
    for tensor in model.graph.initializer:
        if tensor.name in ("dense.weight", "dense.bias"):
            value = numpy_helper.to_array(tensor).copy()
            value[0] = 1e-30 if tensor.name == "dense.weight" else 5e4
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    wide = statistics_of(model, random_inputs())
    found = quantize(model, wide, "ort-x86", ALL_INT8, method="minmax").model
    (bias,) = run(found, random_inputs(1)[0], ["dense/bias/rounded"])
    assert bias[0] == pytest.approx(5e4, rel=1e-6)


@pytest.mark.parametrize("options", [ALL_INT8, FLOAT_DEPTHWISE])
def test_onnx_runtime_executes_what_was_planned(
    model: ModelProto, statistics: dict[str, TensorStatistics], options: PlacementOptions
) -> None:
    form: str = "ort-x86"
    found = quantize(model, statistics, form, options)
    kinds = Counter(node.op_type for node in executed(found.model).graph.node)
    planned = len(found.placement.weights)
    assert kinds["QLinearConv"] == planned
    floats = sum(count for kind, count in kinds.items() if kind.endswith("Conv")) - planned
    assert floats == 7 - planned, "two.cheap stands between two roundings and must stay float"
    assert kinds["QLinearConcat"] == 2
    assert kinds["QLinearAdd"] == 1


def test_a_float_convolution_asked_for_by_name_is_float(
    statistics: dict[str, TensorStatistics],
) -> None:
    net = Net()
    x = net.silu(net.conv("images", 8, "first"), "first")
    y = net.conv(net.conv(net.conv(x, 8, "a"), 8, "b", kernel=3), 8, "c")
    model = net.model(net.conv(y, 4, "last"))
    options = replace(ALL_INT8, float_nodes=frozenset({"b"}))
    found = quantize(model, statistics_of(model, random_inputs()), "ort-x86", options).model
    kinds = Counter(node.op_type for node in executed(found).graph.node)
    assert kinds["QLinearConv"] == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["yolov10n-ghost", "yolo11n-ghostnetv2"])
def test_an_exported_network_runs_in_every_form(name: str, form: str) -> None:
    model = zoo_graph(name, "one2one" if name.startswith("yolov10") else "dfl")
    image = np.random.default_rng(0).random((1, 3, *GRAPH_SIZE_HW), np.float32)
    statistics = statistics_of(model, [image])
    found = quantize(model, statistics, form, method="minmax")
    assert np.isfinite(run(found.model, image)[0]).all()
    assert run(found.model, image)[0].shape == run(model, image)[0].shape
    keys = {item.key for item in found.model.metadata_props}
    assert keys - {GUARD_KEY} == {item.key for item in model.metadata_props} | {FORM_KEY}
    if form == "tensorrt":
        assert lint(found.model) == []
        assert found.placement.requantized == 0
    naive = quantize(model, statistics, form, NAIVE, method="minmax")
    assert np.isfinite(run(naive.model, image)[0]).all()
