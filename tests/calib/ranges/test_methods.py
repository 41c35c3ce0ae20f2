"""Ranges, against slow and plain arithmetic on the values themselves."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ghost_deploy.calib.ranges.histogram import TensorStatistics, merge
from ghost_deploy.calib.ranges.methods import METHODS, Method, activation_range
from ghost_deploy.core.errors import UsageError

Floats = NDArray[np.float32]


def gaussian() -> Floats:
    return np.random.default_rng(0).normal(0.3, 1, 20_000).astype(np.float32)


def silu_with_outlier() -> Floats:
    x = np.random.default_rng(1).normal(0, 2, 20_000)
    return np.append(x / (1 + np.exp(-x)), 60.0).astype(np.float32)


def relu() -> Floats:
    return np.maximum(np.random.default_rng(2).normal(-0.5, 1, 20_000), 0).astype(np.float32)


def negative() -> Floats:
    return -np.random.default_rng(3).exponential(1, 20_000).astype(np.float32)


SHAPES = {"gaussian": gaussian, "silu": silu_with_outlier, "relu": relu, "negative": negative}
BOTH = pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES)


def quantized(values: NDArray[np.float64], lo: float, hi: float, steps: int) -> list[float]:
    """Quantize and dequantize, one value at a time. Python rounds half to even, as ONNX does."""
    scale = (hi - lo) / steps
    zero = round(-lo / scale)
    return [
        (min(max(round(value / scale) + zero, 0), steps) - zero) * scale
        for value in values.tolist()
    ]


def mean_squared_error(values: Floats, lo: float, hi: float, *, symmetric: bool) -> float:
    wide = values.astype(np.float64)
    return float(np.square(quantized(wide, lo, hi, 254 if symmetric else 255) - wide).mean())


@pytest.mark.parametrize(
    "wrong",
    [{"method": "best"}, {"percentile": 50}, {"percentile": 100.1}],
)
def test_arguments_that_are_refused(wrong: dict[str, object]) -> None:
    stats = TensorStatistics.of(np.ones(1, np.float32))
    with pytest.raises(UsageError, match="minmax, percentile, mse"):
        activation_range(stats, **{"method": "mse", "symmetric": True, **wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_zeros_get_a_usable_range(method: Method) -> None:
    stats = TensorStatistics.of(np.zeros(100, np.float32))
    assert activation_range(stats, method, symmetric=True) == (-1, 1)
    assert activation_range(stats, method, symmetric=False) == (0, 1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [3.7, -0.01, 1e-20, 3e38])
def test_a_constant_is_kept(method: Method, value: float) -> None:
    stats = TensorStatistics.of(np.full(100, value, np.float32))
    lo, hi = activation_range(stats, method, symmetric=False)
    assert (hi if value > 0 else lo) == pytest.approx(value, rel=1e-3)
    assert (lo if value > 0 else hi) == 0
    lo, hi = activation_range(stats, method, symmetric=True)
    assert -lo == hi == pytest.approx(abs(value), rel=1e-2)


values = hnp.arrays(
    np.float32,
    st.integers(1, 200),
    elements=st.floats(-100, 100, width=32) | st.floats(-1, 1, width=32) | st.just(0.0),
)


@settings(max_examples=60, deadline=None)
@given(values, st.sampled_from(METHODS), st.booleans())
def test_a_range_holds_zero_and_no_more_than_was_seen(
    array: Floats, method: Method, symmetric: bool
) -> None:
    stats = TensorStatistics.of(array)
    lo, hi = activation_range(stats, method, symmetric=symmetric)
    assert lo <= 0 <= hi
    assert lo < hi
    if np.abs(array).max() < 2.0**-90:  # as good as zeros
        return
    if symmetric:
        assert lo == -hi
        assert hi <= np.abs(array).max()
    else:
        assert min(array.min(), 0) <= lo
        assert hi <= max(array.max(), 0)


@settings(max_examples=40, deadline=None)
@given(values, st.sampled_from(METHODS))
def test_a_mirrored_tensor_gets_the_same_symmetric_range(array: Floats, method: Method) -> None:
    """Up to a bin: a value on an edge belongs to the bin above it."""
    stats, mirrored = TensorStatistics.of(array), TensorStatistics.of(-array)
    if method not in ("minmax", "percentile"):
        return
    a = activation_range(stats, method, symmetric=True)
    b = activation_range(mirrored, method, symmetric=True)
    assert a[1] == pytest.approx(b[1], abs=2 * stats.width)


@EACH_SHAPE
def test_minmax(shape: str) -> None:
    array = SHAPES[shape]()
    stats = TensorStatistics.of(array)
    low, high = min(float(array.min()), 0), max(float(array.max()), 0)
    assert activation_range(stats, "minmax", symmetric=False) == (low, high)
    most = max(-low, high)
    assert activation_range(stats, "minmax", symmetric=True) == (-most, most)


@EACH_SHAPE
@pytest.mark.parametrize("percentile", [90.0, 99.9, 99.99, 100.0])
def test_percentile(shape: str, percentile: float) -> None:
    array = SHAPES[shape]().astype(np.float64)
    stats = TensorStatistics.of(array.astype(np.float32))
    tail = (1 - percentile / 100) / 2

    lo, hi = activation_range(stats, "percentile", symmetric=False, percentile=percentile)
    above = max(np.quantile(array, 1 - tail, method="inverted_cdf"), 0)
    below = min(-np.quantile(-array, 1 - tail, method="inverted_cdf"), 0)
    assert hi == pytest.approx(above, abs=stats.width)
    assert lo == pytest.approx(below, abs=stats.width)

    lo, hi = activation_range(stats, "percentile", symmetric=True, percentile=percentile)
    most = np.quantile(np.abs(array), 1 - 2 * tail, method="inverted_cdf")
    assert hi == pytest.approx(most, abs=stats.width)


def test_percentile_of_almost_only_zeros() -> None:
    array = np.zeros(100_000, np.float32)
    array[0] = -5.0
    stats = TensorStatistics.of(array)
    assert activation_range(stats, "percentile", symmetric=False, percentile=99.99) == (-5, 0)


@BOTH
@EACH_SHAPE
def test_mse_is_as_good_as_a_brute_force_search(shape: str, symmetric: bool) -> None:
    array = SHAPES[shape]()[-3000:]
    lo, hi = activation_range(TensorStatistics.of(array), "mse", symmetric=symmetric)
    got = mean_squared_error(array, lo, hi, symmetric=symmetric)
    low, high = min(float(array.min()), 0), max(float(array.max()), 0)
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    shares = [k / 24 for k in range(1, 25)]
    ends = [
        (low * a, high * b)
        for a in (shares if low < 0 else [1.0])
        for b in (shares if high > 0 else [1.0])
        if not symmetric or a == b
    ]
    wide = array.astype(np.float64)
    steps = 254 if symmetric else 255
    best = min(plain_error(wide, *end, steps) for end in ends)
    assert got <= best * 1.01


def plain_error(values: NDArray[np.float64], lo: float, hi: float, steps: int) -> float:
    scale = (hi - lo) / steps
    zero = np.rint(-lo / scale)
    level = np.clip(np.rint(values / scale) + zero, 0, steps)
    return float(np.square((level - zero) * scale - values).mean())


def test_mse_cuts_off_an_outlier_and_minmax_does_not() -> None:
    x = np.random.default_rng(1).normal(0, 2, 400_000)
    x = np.append(x / (1 + np.exp(-x)), 60.0)
    stats = TensorStatistics.of(x.astype(np.float32))
    assert activation_range(stats, "minmax", symmetric=False)[1] == 60
    assert activation_range(stats, "mse", symmetric=False)[1] < 45


@pytest.mark.parametrize("method", METHODS)
def test_a_shared_scale_serves_both(method: Method) -> None:
    """The range of two tensors together is that of their values together."""
    parts = gaussian()[:500], silu_with_outlier()[:3000]
    together = TensorStatistics.of(np.concatenate(parts))
    merged = reduce(merge, map(TensorStatistics.of, parts))
    for symmetric in (True, False):
        assert activation_range(merged, method, symmetric=symmetric) == activation_range(
            together, method, symmetric=symmetric
        )
