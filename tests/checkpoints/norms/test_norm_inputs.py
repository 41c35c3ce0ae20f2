"""What arrives at the batch norms, and how far it is from what they recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ghost_deploy.checkpoints.norms.deviation import deviations, misfit
from ghost_deploy.checkpoints.norms.norm_inputs import collect_norm_inputs
from ghost_deploy.models.network import DetectionNet
from tests.support.module_trees import tiny

IMAGES = np.random.default_rng(3).random((4, 3, 96, 96), np.float32)


@pytest.fixture
def net() -> DetectionNet:
    return tiny().eval().requires_grad_(False)


def norms_of(net: nn.Module) -> dict[str, nn.BatchNorm2d]:
    return {n: m for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}


def test_no_image_gives_nothing(net: DetectionNet) -> None:
    assert collect_norm_inputs(net, []) == []
    assert deviations(net, []) == []
    assert misfit([]) == 0.0


def test_the_moments_are_those_of_a_network_in_training(net: DetectionNet) -> None:
    found = {each.name: each for each in collect_norm_inputs(net, [IMAGES])}
    norms = norms_of(net)
    assert set(found) == set(norms)
    for norm in norms.values():
        norm.momentum = 1.0
    net.train()
    features = net.features(torch.from_numpy(IMAGES))
    net.head.raw(features)
    for name, norm in norms.items():
        seen = found[name]
        assert norm.running_mean is not None
        assert norm.running_var is not None
        np.testing.assert_allclose(seen.mean, norm.running_mean, atol=2e-4)
        # torch records the unbiased variance.
        unbiased = seen.variance * seen.values / (seen.values - 1)
        np.testing.assert_allclose(unbiased, norm.running_var, rtol=2e-3, atol=2e-5)


def test_the_network_is_unchanged(net: DetectionNet) -> None:
    x = torch.from_numpy(IMAGES)
    before, state = net(x), {key: value.clone() for key, value in net.state_dict().items()}
    collect_norm_inputs(net, [IMAGES])
    assert torch.equal(net(x), before)
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert not any("forward" in vars(norm) for norm in norms_of(net).values())


def test_recorded_statistics_of_the_same_images_do_not_deviate(net: DetectionNet) -> None:
    for norm in norms_of(net).values():
        norm.momentum = 1.0
    net.train()
    net.head.raw(net.features(torch.from_numpy(IMAGES)))
    net.eval()
    found = deviations(net, [IMAGES])
    assert len(found) == len(norms_of(net))
    assert max(each.size for each in found if each.judged) < 0.01
    name = found[2].name
    norm = norms_of(net)[name]
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean += 0.5 * (norm.running_var + norm.eps).sqrt()
    norm.running_var *= 4
    moved = {each.name: each for each in deviations(net, [IMAGES])}
    assert moved[name].median_mean == pytest.approx(0.25, abs=0.02)
    assert moved[name].median_sd == pytest.approx(np.log(2), abs=0.03)
    others = [each.size for each in moved.values() if each.judged and each.name != name]
    assert max(others) < 0.01


def test_statistics_of_a_new_network_say_nothing() -> None:
    net = tiny().eval()
    for norm in norms_of(net).values():
        norm.reset_running_stats()
    assert deviations(net, [IMAGES]) == []
