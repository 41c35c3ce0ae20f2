"""Rewrites of int8 OpenVINO models: what they change, what they leave alone, what they compute."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import openvino
import pytest
from openvino import opset13 as ops

from ghost_deploy.calib.quantize.openvino_rewrites import (
    FINEST_STEP,
    approximate_silu,
    sum_bins_by_convolution,
)

SIDES, BINS, SIZE = 4, 16, 6
random = np.random.default_rng(0)


def numbers(*values: int) -> Any:
    return ops.constant(np.array(values, np.int64))


def kinds(model: Any) -> Counter[str]:
    return Counter(each.get_type_name() for each in model.get_ops())


def run(model: Any, image: Any) -> Any:
    return openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(image)[0]


def same_padding() -> dict[str, list[int]]:
    return {"strides": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1], "dilations": [1, 1]}


def bins(*, shape: tuple[int, ...] = (1, SIDES * BINS, SIZE, SIZE), axis: int = 2) -> Any:
    """Expectation over the bins, as `export.rewrite` writes it."""
    image = ops.parameter(list(shape), np.float32, name="images")
    logits = ops.reshape(image, numbers(0, SIDES, BINS, -1), special_zero=True)
    powers = ops.exp(ops.subtract(logits, ops.reduce_max(logits, numbers(axis), keep_dims=True)))
    sums = np.stack((np.arange(BINS), np.ones(BINS))).astype(np.float32)
    product = ops.matmul(ops.constant(sums), powers, False, False)
    left, right = ops.split(product, ops.constant(np.int64(2)), 2).outputs()
    return openvino.Model([ops.divide(left, right)], [image])


@pytest.mark.parametrize("batch", [1, -1])
def test_bins_are_summed_by_a_convolution(batch: int) -> None:
    side = SIZE if batch == 1 else -1
    shape = (batch, SIDES * BINS, side, side)
    model, expected = bins(shape=shape), bins(shape=shape)
    assert sum_bins_by_convolution(model) == 1
    assert kinds(model)["Convolution"] == 1
    assert kinds(model)["MatMul"] == 0
    count = 1 if batch == 1 else 3
    # As far apart as 400: float32 ends at e^88.
    logits = random.normal(0, 100, (count, SIDES * BINS, SIZE, SIZE)).astype(np.float32)
    np.testing.assert_allclose(run(model, logits), run(expected, logits), rtol=1e-5, atol=1e-6)


def test_other_products_are_left_alone() -> None:
    image = ops.parameter([1, 4, 8, 8], np.float32, name="images")
    product = ops.matmul(ops.constant(np.ones((2, 8), np.float32)), ops.exp(image), False, False)
    model = openvino.Model([product], [image])
    assert sum_bins_by_convolution(model) == 0
    assert kinds(model)["MatMul"] == 1


def layer(high: float, *, grouped: bool = False, biased: bool = True, tap: bool = False) -> Any:
    """An int8 convolution as NNCF leaves it, with a SiLU and a rounding from -0.28 to `high`.

    Args:
        tap: read the SiLU in float too.
    """
    image = ops.parameter([1, 8, SIZE, SIZE], np.float32, name="images")
    shape = (8, 1, 1, 3, 3) if grouped else (8, 8, 3, 3)
    weights = ops.convert(ops.constant(random.integers(-127, 128, shape, np.int8)), np.float32)
    scales = random.uniform(0.005, 0.02, (8, *[1] * (len(shape) - 1))).astype(np.float32)
    weights = ops.multiply(weights, ops.constant(scales))
    conv = (ops.group_convolution if grouped else ops.convolution)(image, weights, **same_padding())
    bias = random.normal(0, 0.3, (1, 8, 1, 1)).astype(np.float32)
    total = ops.add(conv, ops.constant(bias)) if biased else conv
    silu = ops.swish(total)
    silu.set_friendly_name("act")
    low, top = (ops.constant(np.float32(each)) for each in (-0.28, high))
    rounded = ops.fake_quantize(silu, low, top, low, top, 256)
    return openvino.Model([rounded, silu] if tap else [rounded], [image])


@pytest.mark.parametrize("grouped", [False, True])
def test_a_rounded_silu_becomes_a_gelu_at_no_cost(grouped: bool) -> None:
    model = layer(8, grouped=grouped)
    image = random.normal(0, 1, (1, 8, SIZE, SIZE)).astype(np.float32)
    before, products = run(model, image), kinds(model)["Multiply"]
    assert approximate_silu(model) == 1
    assert kinds(model)["Gelu"] == 1
    assert kinds(model)["Swish"] == 0
    assert kinds(model)["Multiply"] == products + 1, "only the one that undoes the scale"
    assert "act" in [each.get_friendly_name() for each in model.get_ops()]
    step = 8.28 / 255
    assert 0 < np.abs(run(model, image) - before).max() <= 0.035 + step


def test_where_no_biases_can_take_it_the_scale_is_a_product() -> None:
    model = layer(8, biased=False)
    image = random.normal(0, 1, (1, 8, SIZE, SIZE)).astype(np.float32)
    before, products = run(model, image), kinds(model)["Multiply"]
    assert approximate_silu(model) == 1
    assert kinds(model)["Multiply"] == products + 2
    assert np.abs(run(model, image) - before).max() <= 0.035 + 8.28 / 255


@pytest.mark.parametrize(
    "model",
    [layer(255 * FINEST_STEP - 0.3), layer(8, tap=True)],
    ids=["finely rounded", "read in float"],
)
def test_a_silu_whose_deviation_would_show_stays(model: Any) -> None:
    assert approximate_silu(model) == 0
    assert kinds(model)["Swish"] == 1
