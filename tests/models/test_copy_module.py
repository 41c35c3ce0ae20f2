"""A copied module is what `copy.deepcopy` makes: the same values, nothing shared, nothing lost."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from ghost_deploy.models.copy_module import copy_module
from tests.support.anchor_detectors import anchor_net
from tests.support.zoo_networks import zoo_net


class Odd(nn.Module):
    """With everything that a module may hold besides parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 1)
        self.again = self.first
        self.listed = [self.first, nn.ReLU()]
        self.table = {"weight": self.first.weight, "sizes": [1, 2]}
        self.absent = None
        self.register_module("nothing", None)
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("lost", torch.zeros(2), persistent=False)
        self.register_buffer("empty", None)
        self.calls: list[int] = []
        self.register_forward_hook(lambda module, *_: module.calls.append(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.again(self.first(x)) + self.kept.sum()


class OwnCopy(nn.Module):
    def __deepcopy__(self, memo: Any) -> str:
        return "its own"


def test_an_empty_module() -> None:
    made = copy_module(nn.Sequential())
    assert type(made) is nn.Sequential
    assert len(made) == 0
    made.append(nn.ReLU())  # its dictionaries are its own


@pytest.mark.parametrize(
    "name", ["yolov8n-ghost", "yolo11n-ghostnetv2", "yolov10n-ghost", "anchors"]
)
def test_networks_are_copied_as_deepcopy_does(name: str) -> None:
    net: nn.Module = anchor_net() if name == "anchors" else zoo_net(name)
    made, wanted = copy_module(net), copy.deepcopy(net)
    assert repr(made) == repr(wanted)
    assert made.training == net.training
    for (key, got), (other, right) in zip(
        made.state_dict().items(), wanted.state_dict().items(), strict=True
    ):
        assert key == other
        assert torch.equal(got, right)
        assert (got.dtype, got.stride()) == (right.dtype, right.stride())
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(made(image), net(image))
    places = {each.data_ptr() for each in net.state_dict().values() if each.numel()}
    assert not places & {each.data_ptr() for each in made.state_dict().values() if each.numel()}
    assert not {id(each) for each in net.modules()} & {id(each) for each in made.modules()}


def test_what_is_shared_stays_shared_and_what_is_odd_is_there() -> None:
    odd = Odd()
    made = copy_module(odd)
    assert made.again is made.first is made.listed[0] is not odd.first
    assert made.table["weight"] is made.first.weight is not odd.first.weight
    assert made.table["sizes"] == [1, 2]
    assert made.table["sizes"] is not odd.table["sizes"]
    assert list(made.state_dict()) == list(odd.state_dict())
    assert "lost" not in made.state_dict()
    assert made.nothing is None
    assert made.empty is None
    made(torch.ones(1, 3, 2, 2))
    assert (made.calls, odd.calls) == ([1], [])  # the hook came along
    made.listed.append(nn.ReLU())
    assert len(odd.listed) == 2


def test_a_class_that_copies_itself_does_so() -> None:
    made = copy_module(nn.ModuleDict({"own": nn.ReLU()}))
    assert isinstance(made["own"], nn.ReLU)
    holder = nn.Sequential(nn.ReLU(), OwnCopy())
    assert copy_module(holder)._modules["1"] == "its own"


def test_what_the_memo_names_takes_the_place() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    other = nn.Identity()
    weight = nn.Parameter(torch.full((1, 1, 1, 1), 7.0))
    made = copy_module(net, {id(net[1]): other, id(net[0].weight): weight})
    assert made[1] is other
    assert made[0].weight is weight
