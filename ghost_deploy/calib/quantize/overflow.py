"""Weights whose int8 products cannot overflow on x86 processors without VNNI.

Such a processor multiplies u8 activations by s8 weights with VPMADDUBSW (Intel SDM, volume 2),
which adds the products of two neighbouring input channels in int16 with saturation. The sum of a
pair saturates where 255 (w1 + w2) exceeds the range of int16, i.e. where two weights of one sign
add up to more than 128. OpenVINO (oneDNN) and ONNX Runtime (MLAS) pair the input channels 2k and
2k + 1 of one kernel position; a depthwise convolution has no pairs.

The usual guard halves the range of all weights. Here the scale of an output channel is enlarged
only as far as its own pairs need: on two trained Ghost detectors by 1.5 on average.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.quantize.weights import round_weight

MAX_PAIR = 128
"""Largest sum of two weights of one sign: 255 * 128 = 32640, 255 * 129 = 32895 > 32767."""

HALF_RANGE = 64
"""Largest weight that is safe whatever it is paired with."""

_STEP = 1 + 2**-10
"""Factor by which a scale grows until the rounded weights fit."""

_DOUBLING = 720
"""Steps that more than double a scale, which is enough unless weights were clipped."""

_INT16 = np.iinfo(np.int16)


def overflow_free_scales(
    weight: NDArray[np.float32], scales: NDArray[np.float32], groups: int = 1
) -> NDArray[np.float32]:
    """The smallest enlargement of each scale with which no pair of products overflows.

    Where the order of channels in the kernel is not known (an odd number of input channels,
    several groups), the scales are enlarged until all weights are within half the range.

    Args:
        weight: (out, in / groups, kh, kw).
        scales: (out,) of the output channels.
        groups: of the convolution.

    Returns:
        (out,) scales, none smaller than before.
    """
    if weight.shape[1] == 1:
        return scales
    known = groups == 1 and weight.shape[1] % 2 == 0
    result: NDArray[np.float32] = scales.astype(np.float32).copy()
    rows = np.flatnonzero(_overflow(weight, result, known))
    if rows.size:
        result[rows] = _smallest(weight[rows], result[rows], known)
    return result


def _smallest(
    weight: NDArray[np.float32], scales: NDArray[np.float32], known: bool
) -> NDArray[np.float32]:
    """The first of the growing scales of each channel that fits; all of `scales` are too small.

    Found by bisection: a larger scale makes no level larger, so that all beyond the first fit.
    """
    channels = np.arange(len(weight))
    grown = _grown(scales)
    while _overflow(weight, grown[-1], known).any():
        grown = np.concatenate((grown, _grown(grown[-1])))
    too_small, fits = np.zeros(len(weight), int), np.full(len(weight), len(grown) - 1)
    while (fits - too_small > 1).any():
        middle = (too_small + fits) // 2
        over = _overflow(weight, grown[middle, channels], known)
        too_small = np.where(over, middle, too_small)
        fits = np.where(over, fits, middle)
    result: NDArray[np.float32] = grown[fits, channels]
    return result


def _grown(scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, out) the scales, then each row one step larger, up to more than twice as large."""
    steps = np.full((_DOUBLING + 1, len(scales)), np.float32(_STEP))
    steps[0] = scales
    return np.multiply.accumulate(steps, axis=0)


def _overflow(
    weight: NDArray[np.float32], scales: NDArray[np.float32], known: bool
) -> NDArray[np.bool_]:
    """(out,) whether products of a channel can overflow; `known`: the order in the kernel is."""
    levels = round_weight(weight, scales)
    if known:
        return pair_sums(levels) > MAX_PAIR
    largest = np.abs(levels.astype(np.int16)).reshape(len(levels), -1).max(1)
    return np.asarray(largest > HALF_RANGE)


def pair_sums(levels: NDArray[np.int8]) -> NDArray[np.int16]:
    """(out,) the largest sum of two weights of one sign that meet in a pair.

    Args:
        levels: (out, in, kh, kw) int8 weights, `in` even.
    """
    wide = levels.astype(np.int16)
    even, odd = wide[:, 0::2], wide[:, 1::2]
    above = np.maximum(even, 0) + np.maximum(odd, 0)
    below = np.maximum(-even, 0) + np.maximum(-odd, 0)
    result: NDArray[np.int16] = np.maximum(above, below).reshape(len(levels), -1).max(1)
    return result


def saturating_convolution(
    image: NDArray[np.uint8],
    levels: NDArray[np.int8],
    *,
    zero_point: int = 0,
    stride: int = 1,
    padding: int = 0,
) -> tuple[NDArray[np.int32], int]:
    """A convolution as VPMADDUBSW computes it: pairs of channels are added in int16.

    Args:
        image: (in, h, w) u8 levels of one image, `in` even.
        levels: (out, in, kh, kw) int8 weights.
        zero_point: u8 level of the value 0, which also fills the padding.
        stride, padding: of the convolution, both axes.

    Returns:
        (out, oh, ow) int32 sums of (level - zero_point) * weight, and how many pair sums were
        saturated.
    """
    _, _, kh, kw = levels.shape
    padded = np.pad(image, ((0, 0), (padding,) * 2, (padding,) * 2), constant_values=zero_point)
    height = (padded.shape[1] - kh) // stride + 1
    width = (padded.shape[2] - kw) // stride + 1
    weights = levels.astype(np.int32)
    total = np.zeros((len(levels), height, width), np.int32)
    saturated = 0
    for y in range(kh):
        for x in range(kw):
            rows = slice(y, y + stride * (height - 1) + 1, stride)
            columns = slice(x, x + stride * (width - 1) + 1, stride)
            window = padded[:, rows, columns].astype(np.int32)
            for channel in range(0, len(window), 2):
                pair = np.tensordot(
                    weights[:, channel : channel + 2, y, x], window[channel : channel + 2], 1
                )
                clipped = np.clip(pair, _INT16.min, _INT16.max)
                saturated += int((pair != clipped).sum())
                total += clipped
    shift = weights.sum((1, 2, 3)) * zero_point
    return total - shift[:, None, None].astype(np.int32), saturated
