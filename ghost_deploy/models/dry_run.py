"""Running a network on the meta device: shapes without arithmetic, and its number of operations.

Many operators are Python code on the meta device, and they, as every mode of dispatch (such as
`torch.utils.flop_counter`), import torch's compiler, which takes a second and 90 MiB. So the shapes
of those that detectors use are computed here; any other operator is torch's own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class DryRun(TorchFunctionMode):
    """In its block tensors on the meta device get shapes, and operations are counted.

    Attributes:
        flops: 2 per multiply-add of convolutions, linear layers and matrix products so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call `func`, or take its shape from here; see `TorchFunctionMode`."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        output = _own_shape(name, args, kwargs)
        if output is None:
            output = func(*args, **kwargs)
        if count := _MULTIPLY_ADDS.get(name):
            self.flops += 2 * count(output, *args, **kwargs)
        return output


def _concatenate(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """`torch.cat`."""
    first, axis = tensors[0], dim % tensors[0].ndim
    shape = list(first.shape)
    shape[axis] = sum(each.shape[axis] for each in tensors)
    for each in tensors:
        if [*each.shape[:axis], *each.shape[axis + 1 :]] != shape[:axis] + shape[axis + 1 :]:
            raise ValueError(
                f"tensors {[tuple(t.shape) for t in tensors]} cannot be joined on axis {dim}"
            )
    return first.new_empty(shape)


def _stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """`torch.stack`."""
    first = tensors[0]
    if any(each.shape != first.shape for each in tensors):
        raise ValueError(f"tensors {[tuple(t.shape) for t in tensors]} cannot be stacked")
    axis = dim % (first.ndim + 1)
    return first.new_empty((*first.shape[:axis], len(tensors), *first.shape[axis:]))


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`."""
    if x.shape[-1] != weight.shape[1]:
        raise ValueError(f"a linear layer of {weight.shape[1]} inputs got {x.shape[-1]}")
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def _alike(x: Tensor, *_: Any, **__: Any) -> Tensor:
    """An activation, or another function of each element."""
    return torch.empty_like(x)


def _batch_norm(x: Tensor, mean: Tensor | None, *_: Any, **__: Any) -> Tensor:
    """`torch.nn.functional.batch_norm`."""
    if mean is not None and x.shape[1] != len(mean):
        raise ValueError(f"batch norm of {len(mean)} channels got {x.shape[1]}")
    return torch.empty_like(x)


def _group_norm(x: Tensor, groups: int, *_: Any, **__: Any) -> Tensor:
    """`torch.nn.functional.group_norm`."""
    if x.shape[1] % groups:
        raise ValueError(f"group norm of {groups} groups got {x.shape[1]} channels")
    return torch.empty_like(x)


def _elementwise(left: Any, right: Any) -> Tensor:
    """Addition, subtraction, multiplication and division of floats, with broadcasting."""
    tensors = [each for each in (left, right) if isinstance(each, Tensor)]
    shape = torch.broadcast_shapes(*(each.shape for each in tensors))  # type: ignore[no-untyped-call]
    dtype = tensors[0].dtype
    for each in tensors[1:]:
        dtype = torch.promote_types(dtype, each.dtype)
    return tensors[0].new_empty(shape, dtype=dtype)


def _mean(x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    """`torch.mean` over axes."""
    return torch.amax(x, dim, keepdim)


def _arange(end: int, *, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`torch.arange` from 0 in steps of 1."""
    return torch.empty(end, device=device, dtype=dtype)


_SHAPES: dict[str, Callable[..., Tensor]] = {
    "arange": _arange,
    "cat": _concatenate,
    "linear": _linear,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "mean": _mean,
    "stack": _stack,
    **dict.fromkeys(("relu", "hardswish", "pow"), _alike),
    **dict.fromkeys(("add", "sub", "mul", "div"), _elementwise),
}
"""By name, because a function and a method of a tensor are two objects."""

_SIGNATURES = {name: inspect.signature(shape_of) for name, shape_of in _SHAPES.items()}


def _own_shape(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor | None:
    """The output of an operator of the table on the meta device; None for another operator, another
    device, or arguments that detectors do not use.
    """
    if name not in _SHAPES:
        return None
    try:
        _SIGNATURES[name].bind(*args, **kwargs)
    except TypeError:
        return None
    given = args[0] if name in ("cat", "stack") else args
    devices = {each.device.type for each in given if isinstance(each, Tensor)}
    if devices != {"meta"} and (devices or str(kwargs.get("device")) != "meta"):
        return None
    return _SHAPES[name](*args, **kwargs)


def _of_convolution(output: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return output.numel() * weight[0].numel()


def _of_transposed(output: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return x.numel() * weight[0].numel()


def _of_linear(output: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    return output.numel() * weight.shape[1]


def _of_product(output: Tensor, left: Tensor, right: Tensor) -> int:
    return output.numel() * left.shape[-1]


def _of_added_product(output: Tensor, _: Tensor, left: Tensor, right: Tensor, **__: Any) -> int:
    return output.numel() * left.shape[-1]


def _of_attention(output: Tensor, query: Tensor, key: Tensor, *_: Any, **__: Any) -> int:
    return (output.numel() + query.numel()) * key.shape[-2]


_MULTIPLY_ADDS: dict[str, Callable[..., int]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _of_convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _of_transposed),
    "linear": _of_linear,
    **dict.fromkeys(("matmul", "__matmul__", "mm", "bmm"), _of_product),
    **dict.fromkeys(("addmm", "baddbmm"), _of_added_product),
    "scaled_dot_product_attention": _of_attention,
}
