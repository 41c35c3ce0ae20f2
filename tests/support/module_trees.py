"""Networks for the tests: real trees read without ghost_deploy's own loader, random weights."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ghost_deploy.models.head import DFL
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.tree import Attribute, ModuleNode, TensorInfo
from ghost_deploy.models.zoo_yaml import parse

_SKIPPED = {"path", "args", "criterion", "yaml", "names", "anchors", "strides"}


class _Stub:
    """Stands for every class of the file but torch's functions: keeps `__dict__`, runs nothing."""

    path = ""

    def __init__(self, *args: object) -> None:
        pass


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.startswith(("torch.nn.modules", "ultralytics.nn")):
            return type(name, (_Stub,), {"path": f"{module}.{name}"})
        if module.startswith("ultralytics"):
            return type(name, (_Stub,), {"path": f"{module}.{name}"})
        return super().find_class(module, name)


_PICKLE = SimpleNamespace(Unpickler=_Unpickler, load=pickle.load, __name__="stub pickle")


def read_tree(path: Path) -> tuple[ModuleNode, dict[str, Tensor]]:
    """The tree and the tensors of a development checkpoint, which is trusted."""
    document = torch.load(path, map_location="cpu", pickle_module=_PICKLE, weights_only=False)
    tensors: dict[str, Tensor] = {}
    return _node(document["model"], "", tensors), tensors


def _node(module: Any, name: str, tensors: dict[str, Tensor]) -> ModuleNode:
    parts = vars(module)

    def infos(part: str) -> dict[str, TensorInfo]:
        found = {}
        for key, tensor in parts[part].items():
            if tensor is not None:
                tensors[f"{name}.{key}"] = tensor
                dtype = str(tensor.dtype).removeprefix("torch.")
                found[key] = TensorInfo(f"{name}.{key}", dtype, tuple(tensor.shape))
        return found

    return ModuleNode(
        module.path,
        {
            key: _plain(value)
            for key, value in parts.items()
            if not key.startswith("_") and key not in _SKIPPED
        },
        infos("_parameters"),
        infos("_buffers"),
        {
            key: _node(child, f"{name}.{key}" if name else key, tensors)
            for key, child in parts["_modules"].items()
            if child is not None
        },
    )


def _plain(value: Any) -> Attribute:
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def live_tree(module: nn.Module, package: str) -> tuple[ModuleNode, dict[str, Tensor]]:
    """The tree of a module of the tests, as if pickled by a fork, and its tensors.

    Args:
        module: of plain torch layers and classes of the tests.
        package: of the class paths of the latter.
    """
    for part in module.modules():
        own = not type(part).__module__.startswith("torch.nn")
        where = package if own else type(part).__module__
        part.__dict__["path"] = f"{where}.{type(part).__name__}"
    tensors: dict[str, Tensor] = {}
    tree = _node(module, "fork", tensors)
    for part in module.modules():
        del part.__dict__["path"]
    return tree, tensors


def randomize(module: nn.Module, seed: int = 0) -> nn.Module:
    """Well-conditioned random weights and batch norm statistics, as training leaves them."""
    rng = np.random.default_rng(seed)

    def draw(low: float, high: float, tensor: Tensor) -> None:
        values = rng.uniform(low, high, tuple(tensor.shape))
        tensor.data.copy_(torch.from_numpy(np.asarray(values)))

    fixed = {id(part.conv) for part in module.modules() if isinstance(part, DFL)}
    for part in module.modules():
        if isinstance(part, nn.Conv1d | nn.Linear):
            bound = (3 / part.weight[0].numel()) ** 0.5
            draw(-bound, bound, part.weight)
        elif isinstance(part, nn.GroupNorm) and part.affine:
            draw(0.5, 1.5, part.weight)
            draw(-0.3, 0.3, part.bias)
        elif isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and id(part) not in fixed:
            bound = (3 / part.weight[0].numel()) ** 0.5
            draw(-bound, bound, part.weight)
            if part.bias is not None:
                draw(-0.3, 0.3, part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            if part.affine:
                draw(0.5, 1.5, part.weight)
                draw(-0.3, 0.3, part.bias)
            draw(-0.3, 0.3, part.running_mean)
            draw(0.5, 2.0, part.running_var)
    return module.eval().requires_grad_(False)


def tiny() -> DetectionNet:
    """A detector with one of nearly every block, small enough to be built hundreds of times."""
    rows = [
        [-1, 1, "Conv", [8, 3, 2]],
        [-1, 1, "GhostConv", [8, 3, 2]],
        [-1, 1, "C2fGhost", [8]],
        [-1, 1, "GhostBottleneck", [16, 3, 2]],
        [-1, 2, "C3Ghost", [16]],
        [-1, 1, "SPPF", [16, 5]],
        [-1, 1, "Upsample", [2.0, "nearest"]],
        [[-1, 2], 1, "Concat", [1]],
        [-1, 1, "C2f", [8]],
        [[-1, 5], 1, "Detect", ["nc"]],
    ]
    net = parse(rows, (1.0, 1.0, 64), nc=2)
    net.check((64, 64))
    randomize(net)
    return net


def edit(node: ModuleNode, path: str, change: Callable[[ModuleNode], ModuleNode]) -> ModuleNode:
    """The tree with the node at a dotted path changed."""
    if not path:
        return change(node)
    name, _, rest = path.partition(".")
    children = {**node.children, name: edit(node.children[name], rest, change)}
    return replace(node, children=children)
