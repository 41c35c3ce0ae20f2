from __future__ import annotations

import numpy as np

from ghost_deploy.calib.quantize.weights import LEVELS, round_weight, weight_scales

RANDOM = np.random.default_rng(0)


def test_weights_of_zeros_have_a_scale() -> None:
    scales = weight_scales(np.zeros((2, 3), np.float32), per_channel=True)
    assert (scales > 0).all()
    assert scales.dtype == np.float32


def test_a_channel_has_its_own_scale() -> None:
    weight = RANDOM.normal(size=(4, 2, 3, 3)).astype(np.float32) * np.float32(1)
    weight[1] *= 100
    scales = weight_scales(weight, per_channel=True)
    assert scales.shape == (4,)
    assert scales[1] > 10 * scales[0]
    assert np.ptp(weight_scales(weight, per_channel=False)) == 0


def test_the_largest_weight_is_the_last_level() -> None:
    weight = np.array([[1.0, -2.0], [0.5, 0.25]], np.float32)
    scales = weight_scales(weight, per_channel=True)
    levels = round_weight(weight, scales)
    assert levels.dtype == np.int8
    assert np.abs(levels).max(axis=1).tolist() == [LEVELS, LEVELS]
