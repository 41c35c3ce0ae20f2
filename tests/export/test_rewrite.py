from __future__ import annotations

import pytest
import torch

from ghost_deploy.core.errors import UsageError
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.rewrite import ExportGraph
from ghost_deploy.models.fuse import fuse
from tests.support.tiny_detectors import tiny_net, tiny_spec

IMAGE = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("reg_max", [1, 2, 16])
@pytest.mark.parametrize("dynamic", [False, True])
def test_the_tail_is_the_original_arithmetic(reg_max: int, dynamic: bool) -> None:
    net = tiny_net(reg_max=reg_max)
    graph = ExportGraph(fuse(net), plan_spec(tiny_spec(reg_max=reg_max), dynamic=dynamic))
    torch.testing.assert_close(graph(IMAGE), net(IMAGE), atol=2e-4, rtol=0)


def test_extreme_logits_stay_finite() -> None:
    net = tiny_net()
    for level in net.head.cv2:
        level[-1].bias.data[::3] = 500.0
        level[-1].bias.data[1::3] = -500.0
    result = ExportGraph(fuse(net), tiny_spec())(IMAGE)
    assert result.isfinite().all()
    torch.testing.assert_close(result, net(IMAGE), atol=1e-3, rtol=0)


def test_one2one_is_the_original_top_k() -> None:
    net = tiny_net(one2one=True)
    # Not fused: equal scores to the last bit, so that the best ones come in the same order.
    graph = ExportGraph(net, tiny_spec(one2one=True))
    torch.testing.assert_close(graph(IMAGE), net(IMAGE), atol=2e-4, rtol=0)


def test_one2one_uses_its_own_branch() -> None:
    net = tiny_net(one2one=True)
    end_to_end = ExportGraph(fuse(net), tiny_spec(one2one=True))(IMAGE)
    for level in net.head.one2one_cv3:
        level[-1].bias.data += 1.0
    assert not torch.equal(end_to_end, ExportGraph(fuse(net), tiny_spec(one2one=True))(IMAGE))
    net.branch = "one2many"
    torch.testing.assert_close(
        ExportGraph(fuse(net), tiny_spec())(IMAGE), net(IMAGE), atol=2e-4, rtol=0
    )


def test_k_is_never_more_than_the_smallest_input_has() -> None:
    spec = tiny_spec(one2one=True)
    assert spec.output_shape() == (1, 240, 6)
    assert plan_spec(spec, size_hw=(640, 640)).output_shape() == (1, 300, 6)
    assert plan_spec(spec, dynamic=True).output_shape() == (-1, 60, 6)


def test_a_branch_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no one2one branch"):
        ExportGraph(fuse(tiny_net()), tiny_spec(one2one=True))
