from __future__ import annotations

import math

import pytest
import torch

from ghost_deploy.core.errors import ExportError
from ghost_deploy.export.precision import to_half
from ghost_deploy.models.fuse import fuse
from tests.support.tiny_detectors import tiny_net


def test_all_weights_become_half() -> None:
    net = to_half(fuse(tiny_net()))
    assert {parameter.dtype for parameter in net.parameters()} == {torch.float16}


@pytest.mark.parametrize("value", [70_000.0, -1e9, math.inf, math.nan])
def test_a_weight_that_does_not_fit_names_its_layer(value: float) -> None:
    net = fuse(tiny_net())
    net.model[1].conv.weight.data[0, 0, 0, 0] = value
    with pytest.raises(ExportError, match=r"'model\.1\.conv'.*Export fp32"):
        to_half(net)


def test_the_largest_half_fits() -> None:
    net = fuse(tiny_net())
    net.model[1].conv.weight.data[0, 0, 0, 0] = 65504.0
    assert to_half(net).model[1].conv.weight[0, 0, 0, 0] == 65504.0
