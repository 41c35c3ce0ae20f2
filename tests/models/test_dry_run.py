"""Shapes and operations on the meta device, against torch's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ghost_deploy.models.dry_run import DryRun
from ghost_deploy.models.network import meta_copy
from tests.support.assets import GHOST, needs_assets
from tests.support.zoo_networks import zoo_net

Call = Callable[[Tensor, Tensor], Tensor]

OPERATORS: dict[str, Call] = {
    "cat": lambda x, y: torch.cat((x, y[:, :2]), 1),
    "cat, from behind": lambda x, y: torch.cat([x, y, x], dim=-1),
    "stack": lambda x, y: torch.stack((x, y)),
    "stack, from behind": lambda x, y: torch.stack([x, y], dim=-2),
    "a sum": lambda x, y: x + y,
    "a sum that is broadcast": lambda x, y: x[:, :1, :1] + y,
    "numbers": lambda x, y: (2 * x - 1) / 3 + 0.5,
    "a product of kinds": lambda x, y: x.double() * y,
    "in place": lambda x, y: x.clone().add_(y).mul_(y),
    "mean": lambda x, y: x.mean((2, 3), keepdim=True),
    "mean of all": lambda x, y: x.mean(),
    "mean of an axis": lambda x, y: torch.mean(x, dim=1),
    "powers": lambda x, y: x.pow(2) + x**2,
    "activations": lambda x, y: functional.relu(functional.hardswish(functional.silu(x))),
    "linear": lambda x, y: functional.linear(x, y[0, 0], y[0, 0, :, 0]),
    "batch norm": lambda x, y: functional.batch_norm(x, y[0, :, 0, 0], y[0, :, 0, 0]),
    "group norm": lambda x, y: functional.group_norm(x, 2),
    "arange": lambda x, y: torch.arange(5, device=x.device, dtype=x.dtype),
    "arange with a start": lambda x, y: torch.arange(1, 5, device=x.device),
}
"""Of two float32 tensors of shape (2, 4, 5, 5)."""


def pair(device: str) -> tuple[Tensor, Tensor]:
    return torch.ones((2, 4, 5, 5), device=device), torch.ones((2, 4, 5, 5), device=device)


@pytest.mark.parametrize("name", OPERATORS)
def test_shapes_are_those_of_torch(name: str) -> None:
    right = OPERATORS[name](*pair("cpu"))
    with DryRun():
        found = OPERATORS[name](*pair("meta"))
    assert (found.shape, found.dtype, found.is_meta) == (right.shape, right.dtype, True)


@pytest.mark.parametrize("name", OPERATORS)
def test_tensors_with_content_are_computed(name: str) -> None:
    right = OPERATORS[name](*pair("cpu"))
    with DryRun():
        torch.testing.assert_close(OPERATORS[name](*pair("cpu")), right, rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: torch.cat((x, x[:, :, :3]), 1),
        lambda x: torch.cat((x, x[0]), 1),
        lambda x: torch.cat((), 1),
        lambda x: torch.stack((x, x[:, :2])),
        lambda x: torch.stack([]),
        lambda x: x + x[:, :3],
        lambda x: functional.linear(x, x[0, 0, :, :3]),
        lambda x: functional.batch_norm(x, x[0, 0, 0], x[0, 0, 0]),
        lambda x: functional.group_norm(x, 3),
        lambda x: functional.conv2d(x, x[:, :3]),
    ],
)
@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_shapes_that_do_not_fit(wrong: Callable[[Tensor], Tensor], device: str) -> None:
    with DryRun(), pytest.raises((ValueError, RuntimeError, IndexError)):
        wrong(pair(device)[0])


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, groups=2, stride=2),
        nn.ConvTranspose2d(4, 6, 2, stride=2),
        nn.ConvTranspose2d(4, 6, 3, groups=2),
        nn.Linear(5, 7),
        lambda x: x @ x.transpose(2, 3),
        lambda x: torch.matmul(x, x[0, 0]),
        lambda x: torch.bmm(x[0], x[1]),
        lambda x: torch.baddbmm(x[0], x[0], x[1]),
        lambda x: torch.addmm(x[0, 0], x[0, 0], x[1, 1]),
        lambda x: functional.scaled_dot_product_attention(x, x[:, :, :3], x[:, :, :3, :2]),
    ],
)
def test_operations_are_those_that_torch_counts(layer: Callable[[Tensor], Tensor]) -> None:
    x = pair("cpu")[0]
    with torch.no_grad(), FlopCounterMode(display=False) as right:
        layer(x)
    with torch.no_grad(), DryRun() as found:
        layer(x)
    assert found.flops == right.get_total_flops() > 0


@pytest.mark.parametrize(
    "name", ["yolov8n-ghost", "yolov8n-ghostnet", "yolov10n-ghost", "yolo11n-ghostnetv2"]
)
def test_operations_of_a_network(name: str) -> None:
    net, image = zoo_net(name), torch.zeros((1, 3, 64, 96))
    with torch.no_grad(), FlopCounterMode(display=False) as right:
        output = net(image)
    with torch.no_grad(), DryRun() as found:
        assert meta_copy(net)(image.to("meta")).shape == output.shape
    assert found.flops == right.get_total_flops()


@needs_assets
def test_looking_at_a_checkpoint_does_not_import_the_compiler() -> None:
    code = f"""
import sys, ghost_deploy
assert ghost_deploy.inspect({str(GHOST)!r}).gflops > 1
assert "torch" in sys.modules
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
