"""Loading the tensors of a checkpoint into a network on the meta device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ghost_deploy.core.errors import CorruptCheckpointError, StructureError
from ghost_deploy.models.block import Block
from ghost_deploy.models.fields import MisfitError
from ghost_deploy.models.tree import ModuleNode, TensorInfo

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def load_weights(net: nn.Module, root: ModuleNode, tensors: Mapping[str, Tensor]) -> None:
    """Set the parameters and buffers of `net` to float32 copies; shared tensors stay shared.

    Args:
        net: built from `root`, with equal names and shapes.
        root: the tree with the keys of the tensors.
        tensors: by key.

    Raises:
        CorruptCheckpointError: a tensor is missing, of another shape or type, or not finite.
        StructureError: a block does not have the values that it relies on.
    """
    parameters: dict[str, nn.Parameter] = {}
    buffers: dict[str, Tensor] = {}
    for name, node in root.walk():
        module = net.get_submodule(name)
        for part, info in node.parameters.items():
            data = _find(info, f"{name}.{part}", tensors)
            if info.key not in parameters:
                values = _as_float(data, f"{name}.{part}")
                parameters[info.key] = nn.Parameter(values, requires_grad=False)
            module.register_parameter(part, parameters[info.key])
        for part, info in node.buffers.items():
            data = _find(info, f"{name}.{part}", tensors)
            if info.key not in buffers:
                is_counter = part == "num_batches_tracked" and data.dtype == torch.int64
                values = data.clone() if is_counter else _as_float(data, f"{name}.{part}")
                buffers[info.key] = values
            module.register_buffer(part, buffers[info.key])
    for name, module in net.named_modules():
        _complete(module, name)


def _complete(module: nn.Module, name: str) -> None:
    """Check the values of a module, and set tensors that are optional in a checkpoint."""
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        counter, variance = module.num_batches_tracked, module.running_var
        if counter is not None and counter.is_meta:
            module.num_batches_tracked = torch.tensor(0)
        if variance is not None and bool((variance < 0).any()):
            lowest = float(variance.min())
            raise _damaged(f"{name}.running_var has negative values", got=lowest)
    if isinstance(module, Block):
        try:
            module.verify()
        except MisfitError as reason:
            raise StructureError(
                f"{name} is not a working {module.origin}",
                got=str(reason),
                fix="The checkpoint was changed by hand or is damaged: use another one",
            ) from reason


def _find(info: TensorInfo, name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    tensor = tensors.get(info.key)
    if tensor is None:
        raise _damaged(f"the data of {name} is absent", expected=info.key)
    if tuple(tensor.shape) != info.shape:
        got = tuple(tensor.shape)
        raise _damaged(f"{name} has another shape than recorded", got=got, expected=info.shape)
    # A tensor with repeated strides could claim any size over a few bytes.
    if not tensor.is_contiguous():
        raise _damaged(f"the data of {name} is not contiguous", got=tensor.stride())
    return tensor


def _as_float(tensor: Tensor, name: str) -> Tensor:
    if tensor.dtype not in _FLOATS:
        raise _damaged(f"{name} is of an unusable type", got=tensor.dtype, expected="floating")
    data = tensor.detach().to(torch.float32, copy=True)
    if not bool(torch.isfinite(data).all()):
        raise _damaged(f"{name} holds values that are not finite in float32")
    return data


def _damaged(what: str, *, got: object = None, expected: object = None) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        what,
        got=got,
        expected=expected,
        fix="The checkpoint is damaged or its training diverged: use another one",
    )
