"""The reference of a parity comparison: the PyTorch module, unfused, as it was loaded."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import HeadSpec, ModelSpec
from ghost_deploy.detector import Detector
from ghost_deploy.judge.parity.stages import lowered

if TYPE_CHECKING:
    from torch import nn

    from ghost_deploy.checkpoints.fork.fork_checkpoint import AnyCheckpoint, ForkNet
    from ghost_deploy.models.network import DetectionNet


def open_reference(loaded: AnyCheckpoint, spec: ModelSpec) -> Detector:
    """The module as it was loaded, at the bundle's size and thresholds.

    Everything else of the checkpoint's own description stays, so that a bundle which describes
    its input or output wrongly is seen.

    Args:
        loaded: the checkpoint; its module is not changed, and not freed by closing the detector.
        spec: of the bundle.

    Raises:
        UsageError: the bundle was made of a branch that the checkpoint lacks.
    """
    net, head = _branch(loaded, spec)
    return _open(loaded, spec, net, head)


def open_float64(loaded: AnyCheckpoint, spec: ModelSpec) -> Detector:
    """As `open_reference`, computed in float64 on a copy; input and output are float32."""
    import torch

    net, head = _branch(loaded, spec)

    class Exact(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = copy.deepcopy(net).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.net(x.double())
            return output.float()

    return _open(loaded, spec, Exact().eval(), head)


def _open(loaded: AnyCheckpoint, spec: ModelSpec, net: nn.Module, head: HeadSpec) -> Detector:
    from ghost_deploy.runtimes.eager import EagerRuntime

    geometry = {
        field: getattr(spec.input, field) for field in ("size_hw", "min_hw", "max_hw", "batch")
    }
    input_spec = msgspec.structs.replace(loaded.spec.input, **geometry)
    own = msgspec.structs.replace(loaded.spec, input=input_spec, head=head)
    runtime = EagerRuntime(net, own.input, output=own.head.output)
    return Detector(runtime, own, lowered(spec.thresholds))


def _branch(loaded: AnyCheckpoint, spec: ModelSpec) -> tuple[DetectionNet | ForkNet, HeadSpec]:
    """The module set to the branch that was exported, and what its output then means."""
    from ghost_deploy.checkpoints.fork.fork_checkpoint import ForkNet

    net, head, branch = loaded.net, loaded.spec.head, spec.head.branch
    if branch == head.branch:
        return net, head
    if isinstance(net, ForkNet):
        raise UsageError(
            f"the bundle holds the {branch} branch of a head, the fork's code gives {head.branch}",
            fix="Leave --fork out, or export again with it",
        )
    if not (net.head.has_one2one if branch == "one2one" else net.head.has_one2many):
        raise UsageError(
            f"the bundle holds the {branch} branch of a head, {loaded.source.file} has none",
            fix="Name the checkpoint that the bundle was exported from",
        )
    # A shallow copy shares all weights; the caller's module keeps its branch.
    net = copy.copy(net)
    net.branch = branch
    decoder = "one2one" if branch == "one2one" else net.head.decoder
    return net, msgspec.structs.replace(head, branch=branch, decoder=decoder)
