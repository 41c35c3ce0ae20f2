from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.calib.graph.paired_run import PairedRun
from ghost_deploy.calib.quantize.weights import on_grid
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

FORMS: tuple[str, ...] = ("tensorrt", "ort-x86", "openvino")


def test_no_images() -> None:
    model = ghost_net()
    with pytest.raises(InputError, match="no calibration image"):
        PairedRun(model, model, [])


@pytest.mark.parametrize("form", FORMS)
def test_a_paired_run_is_the_quantized_model_layer_by_layer(form: str) -> None:
    model, feeds = ghost_net(), random_inputs(2)
    quantized = quantize(model, statistics_of(model, feeds), form)
    scales = quantized.weight_scales
    weights = {name: on_grid(weight_of(model, name), scales[name]) for name in scales}
    paired = PairedRun(model, quantized.model, feeds, threads=1)
    assert paired.stages[0] == ("first",)
    for stage, names in enumerate(paired.stages):
        samples = paired.sample(stage)
        outputs = paired.run(samples, weights, {})
        for name in names:
            (expected,) = run(quantized.model, feeds[1], [f"{name}:out"])
            (truth,) = run(model, feeds[1], [f"{name}:out"])
            # Another order of summation moves what lies between two levels by a whole level.
            quantization = np.abs(truth - expected).mean()
            assert np.abs(outputs[name][1] - expected).mean() < 0.2 * quantization + 1e-4
            np.testing.assert_allclose(samples[name].outputs[1], truth, atol=1e-5)
        paired.advance(stage, outputs)


def test_later_layers_read_the_corrected_outputs() -> None:
    model, feeds = ghost_net(), random_inputs(1)
    quantized = quantize(model, statistics_of(model, feeds), "tensorrt")
    inputs = []
    for change in (0.0, 0.5):
        paired = PairedRun(model, quantized.model, feeds, threads=1)
        samples = paired.sample(0)
        outputs = paired.run(samples, {}, {"first": bias_of(model, "first") + np.float32(change)})
        paired.advance(0, outputs)
        inputs.append(paired.sample(1)["one.primary"].inputs[0])
    assert np.abs(inputs[0] - inputs[1]).max() > 0.1
