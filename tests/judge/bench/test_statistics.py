from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.latency import Ratio
from ghost_deploy.judge.bench.statistics import (
    ratio,
    relative_spread,
    round_medians,
    shuffled,
    summarize,
)

TIMES = st.lists(st.floats(0.001, 1e4), min_size=1, max_size=50)


@pytest.mark.parametrize("make", [summarize, relative_spread, lambda _: round_medians([[]])])
def test_no_times(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="no times"):
        make([])


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([1.0], [0.0])])
def test_what_cannot_be_compared(a: list[float], b: list[float]) -> None:
    with pytest.raises(UsageError, match="same rounds"):
        ratio(a, b)
    with pytest.raises(UsageError, match="no times"):
        ratio([], [])


def test_one_time() -> None:
    found = summarize([4.0], images=2)
    assert (found.count, found.mean, found.min, found.max) == (1, 4, 4, 4)
    assert (found.p50, found.p90, found.p99) == (4, 4, 4)
    assert found.images_per_second == 500


@given(TIMES)
def test_a_summary_is_that_of_numpy(times: list[float]) -> None:
    found, values = summarize(times), np.array(times)
    assert found.p50 == pytest.approx(np.median(values))
    assert found.p90 == pytest.approx(np.quantile(values, 0.9))
    assert found.p99 == pytest.approx(np.quantile(values, 0.99))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.min, found.max, found.count) == (values.min(), values.max(), len(times))
    assert found.images_per_second == pytest.approx(len(times) / (values.sum() / 1000))


@given(TIMES)
def test_a_ratio_is_the_median_of_ratios(times: list[float]) -> None:
    other = [2 * time for time in times]
    assert ratio(other, times) == Ratio(median=2.0, low=2.0, high=2.0)
    found, pairs = ratio(times, times[::-1]), np.array(times) / np.array(times[::-1])
    assert found.median == pytest.approx(np.median(pairs))
    assert found.low == pytest.approx(np.quantile(pairs, 0.25))
    assert found.high == pytest.approx(np.quantile(pairs, 0.75))


def test_drift_does_not_change_a_ratio() -> None:
    """The machine slows down threefold, and the medians of the samples with it."""
    drift = np.linspace(1, 3, 20)
    assert ratio((10 * drift).tolist(), (8 * drift).tolist()).median == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("low", "high", "decided"), [(0.9, 1.1, False), (1.01, 1.1, True), (0.8, 0.99, True)]
)
def test_whether_a_ratio_says_something(low: float, high: float, decided: bool) -> None:
    assert Ratio(median=1.0, low=low, high=high).decided is decided


def test_spread() -> None:
    assert relative_spread([5.0, 5.0, 5.0]) == 0
    assert relative_spread([0.0]) == 0
    values = [8.0, 9.0, 10.0, 11.0, 12.0]
    assert relative_spread(values) == pytest.approx((11 - 9) / 10)
    assert round_medians([[1.0, 9.0, 2.0], [4.0]]) == [2.0, 4.0]


def test_orders() -> None:
    orders = list(shuffled(4, 30, seed=1))
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders)
    assert len({tuple(order) for order in orders}) > 5
    assert orders == list(shuffled(4, 30, seed=1))
    assert orders != list(shuffled(4, 30, seed=2))
    assert list(shuffled(0, 2)) == [[], []]
