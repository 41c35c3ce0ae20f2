"""Statistics that merge without error, against counting by hand."""

from __future__ import annotations

import math
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ghost_deploy.calib.ranges.histogram import BINS, TensorStatistics, merge
from tests.support.small_graphs import same_statistics

Floats = NDArray[np.float32]

ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
USUAL = st.floats(-64, 64, width=32)


def arrays(values: st.SearchStrategy[float], most: int = 60) -> st.SearchStrategy[Floats]:
    return hnp.arrays(np.float32, st.integers(1, most), elements=values)


@pytest.mark.parametrize(
    "wrong",
    [
        np.empty(0, np.float32),
        np.ones(3),
        np.ones(3, np.int8),
        np.array([0, np.nan], np.float32),
        np.array([np.inf, 0], np.float32),
        np.array([-np.inf], np.float32),
    ],
)
def test_what_has_no_statistics(wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"float32|finite"):
        TensorStatistics.of(wrong)


def by_hand(values: Floats) -> dict[int, int]:
    """Counts by bin number, one value at a time, with the width that the rule asks for."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    exponent = -100
    while (
        math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) + 1 > BINS
    ):
        exponent += 1
    counts: dict[int, int] = {}
    for value in values.tolist():
        number = math.floor(math.ldexp(value, -exponent))
        counts[number] = counts.get(number, 0) + 1
    return counts


@given(arrays(ANY) | arrays(USUAL))
def test_counts_are_those_by_hand(values: Floats) -> None:
    stats = TensorStatistics.of(values)
    found = {int(i) + stats.first: int(stats.counts[i]) for i in np.flatnonzero(stats.counts)}
    assert found == by_hand(values)
    assert (stats.minimum, stats.maximum) == (values.min(), values.max())
    assert stats.count == values.size == stats.counts.sum()
    assert 1 <= len(stats.counts) <= BINS


@given(arrays(USUAL))
def test_bins_reach_over_the_extremes_and_zero(values: Floats) -> None:
    stats = TensorStatistics.of(values)
    edges = stats.edges
    assert edges[0] <= min(0.0, stats.minimum)
    assert edges[-1] > max(0.0, stats.maximum)
    assert 0.0 in edges
    assert np.all(np.diff(edges) == stats.width)
    assert np.all((stats.centers > edges[:-1]) & (stats.centers < edges[1:]))


@given(st.lists(arrays(ANY) | arrays(USUAL), min_size=1, max_size=5), st.randoms())
def test_parts_in_any_order_are_the_whole(parts: list[Floats], random: Any) -> None:
    whole = TensorStatistics.of(np.concatenate(parts))
    random.shuffle(parts)
    stats = [TensorStatistics.of(part) for part in parts]
    assert same_statistics(reduce(merge, stats), whole)
    if stats[1:]:
        again = merge(stats[0], reduce(merge, reversed(stats[1:])))
        assert same_statistics(again, whole)


def test_many_values_in_chunks() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 3, (3, 70_001)).astype(np.float32)
    stats = TensorStatistics.of(values)
    expected, _ = np.histogram(values.astype(np.float64), bins=stats.edges)
    assert np.array_equal(stats.counts, expected)
    assert BINS / 2 <= len(stats.counts) <= BINS


def test_merging_leaves_its_parts_alone() -> None:
    a = TensorStatistics.of(np.array([1, 2], np.float32))
    b = TensorStatistics.of(np.array([1000], np.float32))
    before = a.counts.copy()
    assert merge(a, b).count == 3
    assert np.array_equal(a.counts, before)
    assert not same_statistics(a, b)


@given(arrays(USUAL) | arrays(ANY))
def test_through_a_sigmoid(values: Floats) -> None:
    found = TensorStatistics.of(values).through_sigmoid()
    with np.errstate(over="ignore"):
        wanted = 1 / (1 + np.exp(-values.astype(np.float64)))
    assert found.count == found.counts.sum() == values.size
    assert found.minimum == pytest.approx(wanted.min(), rel=1e-6, abs=1e-7)
    assert found.maximum == pytest.approx(wanted.max(), rel=1e-6)
    # No value moves further than the sigmoid of half a bin, whose slope is at most a quarter.
    reach = TensorStatistics.of(values).width / 8 + found.width
    middles, counts = found.filled()
    assert np.abs(np.repeat(middles, counts.astype(int)) - np.sort(wanted)).max() <= reach
