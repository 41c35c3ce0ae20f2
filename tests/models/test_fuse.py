from __future__ import annotations

import pytest
import torch
from torch import nn

from ghost_deploy.models.fold import fold_bn
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.head import Detect
from ghost_deploy.models.zoo_yaml import build_zoo
from tests.support.module_trees import randomize


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


@pytest.mark.parametrize("eps", [1e-3, 1e-5])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, 3, 2, 1, bias=False),
        nn.Conv2d(4, 6, 3, groups=2, padding="same", padding_mode="reflect"),
        nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, bias=False),
        nn.ConvTranspose2d(4, 6, 2, 2, groups=2),
    ],
    ids=str,
)
def test_a_folded_pair_is_the_pair(conv: nn.Conv2d, affine: bool, eps: float) -> None:
    pair = randomize(nn.Sequential(conv, nn.BatchNorm2d(6, eps, affine=affine))).double()
    x = torch.randn((2, 4, 9, 9), generator=torch.Generator().manual_seed(0)).double()
    folded = fold_bn(pair[0], pair[1])
    torch.testing.assert_close(folded(x), pair(x), rtol=1e-12, atol=1e-12)
    assert folded.bias is not None


def test_raw_pairs_in_a_sequence_are_folded_and_others_are_not() -> None:
    net = randomize(
        nn.Sequential(
            nn.BatchNorm2d(3),
            nn.Conv2d(3, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 1),
            nn.ReLU(),
            nn.BatchNorm2d(4),
            nn.Sequential(nn.ConvTranspose2d(4, 2, 2, 2), nn.BatchNorm2d(2)),
        )
    ).double()
    fused = fuse(net)
    kinds = [type(module).__name__ for module in fused]
    assert kinds == [
        *("BatchNorm2d", "Conv2d", "Identity", "ReLU", "Conv2d", "ReLU", "BatchNorm2d"),
        "Sequential",
    ]
    assert norms(fused) == 2
    x = torch.randn((1, 3, 8, 8), generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(fused(x), net(x), rtol=1e-12, atol=1e-12)


def test_two_norms_over_one_shared_convolution_stay_apart() -> None:
    conv = nn.Conv2d(3, 3, 1)
    net = randomize(
        nn.Sequential(
            nn.Sequential(conv, nn.BatchNorm2d(3)), nn.Sequential(conv, nn.BatchNorm2d(3))
        )
    ).double()
    x = torch.randn((1, 3, 4, 4), generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(fuse(net)(x), net(x), rtol=1e-12, atol=1e-12)


def test_a_whole_network_is_folded_and_the_reference_untouched() -> None:
    net = randomize(build_zoo("yolov8n-ghost", nc=3))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    fused = fuse(net)
    assert norms(fused) == 0
    assert norms(net) > 80
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    x = torch.rand((1, 3, 96, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            fused.double()(x.double()), net.double()(x.double()), rtol=0, atol=1e-4
        )
    assert isinstance(fused.head, Detect)


def test_fusing_twice_changes_nothing() -> None:
    once = fuse(randomize(build_zoo("yolov8n-ghost", nc=1)))
    twice = fuse(once)
    assert all(
        torch.equal(a, b)
        for a, b in zip(once.state_dict().values(), twice.state_dict().values(), strict=True)
    )
