from __future__ import annotations

import numpy as np
import pytest

from ghost_deploy.calib.forms import Form
from ghost_deploy.calib.graph.paired_run import Walk
from ghost_deploy.calib.graph.parameters import bias_of, on_grid, weight_of
from ghost_deploy.calib.quantize.qdq import quantize
from ghost_deploy.core.errors import InputError
from tests.support.small_graphs import ghost_net, images, run, statistics_of

FORMS: tuple[Form, ...] = ("tensorrt", "ort-x86", "openvino")


def test_no_images() -> None:
    model = ghost_net()
    with pytest.raises(InputError, match="no calibration image"):
        Walk(model, model, [])


@pytest.mark.parametrize("form", FORMS)
def test_the_walk_is_the_quantized_model_layer_by_layer(form: Form) -> None:
    model, feeds = ghost_net(), images(2)
    quantized = quantize(model, statistics_of(model, feeds), form)
    scales = quantized.weight_scales
    weights = {name: on_grid(weight_of(model, name), scales[name]) for name in scales}
    walk = Walk(model, quantized.model, feeds, threads=1)
    assert walk.stages[0] == ("first",)
    for stage, names in enumerate(walk.stages):
        seen = walk.see(stage)
        outputs = walk.run(seen, weights, {})
        for name in names:
            (expected,) = run(quantized.model, feeds[1], [f"{name}:out"])
            (truth,) = run(model, feeds[1], [f"{name}:out"])
            # Another order of summation moves what lies between two levels by a whole level.
            quantization = np.abs(truth - expected).mean()
            assert np.abs(outputs[name][1] - expected).mean() < 0.2 * quantization + 1e-4
            np.testing.assert_allclose(seen[name].outputs[1], truth, atol=1e-5)
        walk.settle(stage, outputs)


def test_later_layers_see_what_was_settled() -> None:
    model, feeds = ghost_net(), images(1)
    quantized = quantize(model, statistics_of(model, feeds), "tensorrt")
    inputs = []
    for change in (0.0, 0.5):
        walk = Walk(model, quantized.model, feeds, threads=1)
        seen = walk.see(0)
        outputs = walk.run(seen, {}, {"first": bias_of(model, "first") + np.float32(change)})
        walk.settle(0, outputs)
        inputs.append(walk.see(1)["one.primary"].inputs[0])
    assert np.abs(inputs[0] - inputs[1]).max() > 0.1
