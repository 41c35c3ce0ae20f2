from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.calib.quantize.bias import correct_bias
from ghost_deploy.core.errors import InputError
from tests.support.int8_forms import quantize
from tests.support.small_graphs import (
    bias_of,
    ghost_net,
    random_inputs,
    run,
    statistics_of,
    weight_of,
)


def test_no_images() -> None:
    model = ghost_net()
    with pytest.raises(InputError, match="no calibration image"):
        correct_bias(model, model, {}, [])


def test_a_model_that_nothing_was_rounded_of_keeps_its_biases() -> None:
    model = ghost_net()
    same = correct_bias(model, model, {}, random_inputs(2), threads=1)
    for name in ("first", "one.cheap", "last"):
        np.testing.assert_allclose(bias_of(same, name), bias_of(model, name), atol=1e-6)


@pytest.mark.parametrize("form", ["tensorrt", "ort-x86"])
def test_the_mean_of_every_convolution_is_restored(form: str) -> None:
    model, feeds = ghost_net(), random_inputs(4)
    statistics = statistics_of(model, feeds)
    # A quarter of each range makes errors that are large and one-sided.
    ranges = {
        name: (stats.minimum / 4, stats.maximum / 4)
        for name, stats in statistics.items()
        if not name.endswith("sigmoid:out")
    }
    plain = quantize(model, statistics, form, ranges=ranges)
    corrected = correct_bias(model, plain.model, plain.weight_scales, feeds, threads=1)
    again = quantize(corrected, statistics, form, ranges=ranges, weight_scales=plain.weight_scales)
    for name in ("one.primary", "two.cheap", "dense", "last"):
        shifts = [
            np.mean(
                [
                    run(each, x, [f"{name}:out"])[0] - run(model, x, [f"{name}:out"])[0]
                    for x in feeds
                ],
                (0, 1, 3, 4),
            )
            for each in (plain.model, again.model)
        ]
        assert np.abs(shifts[1]).max() < 0.05 * np.abs(shifts[0]).max() + 1e-3
        np.testing.assert_array_equal(weight_of(corrected, name), weight_of(model, name))
