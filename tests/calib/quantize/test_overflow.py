"""Weights that cannot overflow without VNNI, and the arithmetic that they are made for."""

from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.calib.quantize.overflow import (
    MAX_PAIR,
    overflow_free_scales,
    pair_sums,
    saturating_convolution,
)
from ghost_deploy.calib.quantize.weights import round_weight, weight_scales


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(4, 2, 1, 1), (16, 32, 3, 3), (8, 6, 5, 1)])
def test_no_pair_exceeds_the_limit_and_no_scale_is_larger_than_needed(
    shape: tuple[int, ...],
) -> None:
    weight = weights(*shape)
    plain = weight_scales(weight, per_channel=True)
    safe = overflow_free_scales(weight, plain)
    assert (safe >= plain).all()
    assert (safe <= 2 * plain).all()
    assert (pair_sums(round_weight(weight, safe)) <= MAX_PAIR).all()
    enlarged = safe > plain
    slightly_smaller = np.where(enlarged, safe / np.float32(1.002), safe)
    sums = pair_sums(round_weight(weight, slightly_smaller))
    assert (sums[enlarged] > MAX_PAIR).all()


def test_what_fits_is_not_touched() -> None:
    weight = np.array([[[[1.0]], [[-1.0]]], [[[1.0]], [[0.001]]]], np.float32)
    plain = weight_scales(weight, per_channel=True)
    assert np.array_equal(overflow_free_scales(weight, plain), plain)


@pytest.mark.parametrize(("shape", "groups"), [((8, 3, 3, 3), 1), ((8, 4, 1, 1), 2)])
def test_where_the_order_is_not_known_the_range_is_halved(
    shape: tuple[int, ...], groups: int
) -> None:
    weight = weights(*shape)
    plain = weight_scales(weight, per_channel=True)
    levels = round_weight(weight, overflow_free_scales(weight, plain, groups))
    assert np.abs(levels).max() == 64


def test_a_depthwise_convolution_has_no_pairs() -> None:
    weight = weights(8, 1, 3, 3)
    plain = weight_scales(weight, per_channel=True)
    assert overflow_free_scales(weight, plain, 8) is plain


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 1)])
def test_without_overflow_the_convolution_is_exact(stride: int, padding: int) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (4, 9, 8), np.uint8)
    levels = rng.integers(-60, 61, (3, 4, 3, 3), np.int8)
    found, saturated = saturating_convolution(
        image, levels, zero_point=7, stride=stride, padding=padding
    )
    padded = np.pad(image.astype(int) - 7, ((0, 0), (padding,) * 2, (padding,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    windows = windows[:, ::stride, ::stride]
    assert saturated == 0
    assert np.array_equal(found, np.einsum("oikl,ihwkl->ohw", levels.astype(int), windows))


def test_a_pair_saturates_at_int16() -> None:
    image = np.full((2, 1, 1), 255, np.uint8)
    levels = np.array([[127, 127], [-127, -127], [127, 1], [127, 2]], np.int8)[..., None, None]
    found, saturated = saturating_convolution(image, levels)
    assert found.ravel().tolist() == [32767, -32768, 32640, 32767]
    assert saturated == 3


@pytest.mark.parametrize(
    ("shape", "groups"), [((16, 32, 3, 3), 1), ((8, 3, 3, 3), 1), ((4, 2, 1, 1), 1)]
)
@pytest.mark.parametrize("clipped", [1.0, 0.05])
def test_bisection_finds_what_step_by_step_growth_finds(
    shape: tuple[int, ...], groups: int, clipped: float
) -> None:
    """Also where the given scales clip weights, so that more than a doubling is needed."""
    weight = weights(*shape)
    plain = weight_scales(weight, per_channel=True) * np.float32(clipped)
    grown = plain.copy()
    known = shape[1] % 2 == 0
    while True:
        levels = round_weight(weight, grown)
        rows = np.abs(levels.astype(int)).reshape(len(levels), -1).max(1)
        over = pair_sums(levels) > MAX_PAIR if known else rows > 64
        if not over.any():
            break
        grown[over] *= np.float32(1 + 2**-10)
    assert np.array_equal(overflow_free_scales(weight, plain, groups), grown)


def test_a_convolution_is_rounded_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(weight: np.ndarray, scales: np.ndarray) -> np.ndarray:
        calls.append(len(weight))
        return round_weight(weight, scales)

    monkeypatch.setattr("ghost_deploy.calib.quantize.overflow.round_weight", counted)
    weight = weights(16, 32, 3, 3)
    overflow_free_scales(weight, weight_scales(weight, per_channel=True))
    assert 2 < len(calls) < 20  # growth by one step after the other takes hundreds
