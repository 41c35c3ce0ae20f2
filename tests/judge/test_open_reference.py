"""The module that everything is compared with: unchanged, and set to the branch in question."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ghost_deploy.core.bundle import Source
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import HeadSpec, InputSpec
from ghost_deploy.judge.parity.pytorch_reference import open_reference
from tests.support.two_class_model import ANCHORS, SIDE, STRIDES, two_class_spec


class TwoBranches(torch.nn.Module):
    """Answers in the form of the branch that it is set to."""

    def __init__(self, *, one2one: bool) -> None:
        super().__init__()
        self.branch = "one2many"
        self.head = SimpleNamespace(has_one2one=one2one, has_one2many=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (6, ANCHORS) if self.branch == "one2many" else (300, 6)
        return torch.zeros((len(x), *shape))


def loaded(*, one2one: bool) -> SimpleNamespace:
    net = TwoBranches(one2one=one2one).eval()
    return SimpleNamespace(net=net, spec=two_class_spec(), source=Source(file="toy.pt", sha256=""))


ONE2ONE = HeadSpec(decoder="one2one", strides=STRIDES, branch="one2one")


def test_the_other_branch_is_run_and_the_module_is_left_alone() -> None:
    checkpoint = loaded(one2one=True)
    reference = open_reference(checkpoint, two_class_spec(head=ONE2ONE))  # type: ignore[arg-type]
    feeds, _ = reference.preprocess([np.zeros((48, 64, 3), np.uint8)])
    assert reference.runtime.run(feeds)["output0"].shape == (1, 300, 6)
    assert reference.spec.head.end_to_end
    assert checkpoint.net.branch == "one2many"


def test_a_branch_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="one2one branch"):
        open_reference(loaded(one2one=False), two_class_spec(head=ONE2ONE))  # type: ignore[arg-type]


def test_size_comes_from_the_bundle_and_meaning_from_the_checkpoint() -> None:
    side = 2 * SIDE
    spec = two_class_spec(input=InputSpec(size_hw=(side, side), pad_value=0, color="bgr"))
    reference = open_reference(loaded(one2one=False), spec)  # type: ignore[arg-type]
    own = reference.spec.input
    assert (own.size_hw, own.pad_value, own.color) == ((side, side), 114, "rgb")
