"""From a network to a tree of plain data, the inverse of `build`, for our own file form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from ghost_deploy.core.errors import StructureError
from ghost_deploy.models.block import Block
from ghost_deploy.models.layer_inputs import relative_sources
from ghost_deploy.models.network import DetectionNet
from ghost_deploy.models.registry import OWN
from ghost_deploy.models.torch_layer import BOOKKEEPING
from ghost_deploy.models.torch_layers import TORCH_LAYERS
from ghost_deploy.models.tree import Attribute, ModuleNode, TensorInfo


def to_node(net: DetectionNet) -> tuple[ModuleNode, dict[str, Tensor]]:
    """Convert a network to a tree and its tensors, from which `build` builds an equal network.

    Our classes are named `ghost_deploy.CLASS`, which denotes exactly one definition; classes of
    the user keep their path. A tensor shared by several modules occurs once.

    Returns:
        The root, and the tensors by the keys in `TensorInfo`; they share memory with the network.

    Raises:
        StructureError: a user-defined module has an attribute that is not plain data.
    """
    writer = TreeWriter()
    layers = {}
    for index, (name, layer) in enumerate(net.model.named_children()):
        node = writer.node(layer, f"model.{name}")
        at = index + net.offset
        place: dict[str, Attribute] = {"i": at, "f": relative_sources(at, net.layer_inputs[index])}
        layers[name] = replace(node, attributes={**node.attributes, **place})
    model = ModuleNode(_path(net.model), children=layers)
    return ModuleNode(f"{OWN}.DetectionNet", children={"model": model}), writer.tensors


class TreeWriter:
    """Converts modules to nodes and collects their tensors."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._keys: dict[int, str] = {}

    def node(self, module: nn.Module, name: str) -> ModuleNode:
        """Return the node of a module, with its children."""
        return ModuleNode(
            _path(module),
            _attributes(module, name),
            self._infos(dict(module.named_parameters(recurse=False)), name),
            self._infos(dict(module.named_buffers(recurse=False)), name),
            {
                child_name: self.node(child, f"{name}.{child_name}")
                for child_name, child in module._modules.items()
                if child is not None
            },
        )

    def _infos(self, tensors: Mapping[str, Tensor], name: str) -> dict[str, TensorInfo]:
        infos = {}
        for part, tensor in tensors.items():
            key = self._keys.setdefault(id(tensor), f"{name}.{part}")
            self.tensors[key] = tensor.detach()
            dtype = str(tensor.dtype).removeprefix("torch.")
            infos[part] = TensorInfo(key, dtype, tuple(tensor.shape))
        return infos


def _path(module: nn.Module) -> str:
    kind = type(module)
    if isinstance(module, Block):
        return f"{OWN}.{kind.__name__}"
    return f"{kind.__module__}.{kind.__qualname__}"


def _attributes(module: nn.Module, name: str) -> dict[str, Attribute]:
    """The attributes that `build` needs to rebuild the module."""
    if isinstance(module, Block):
        names = list(module.declaration.attributes)
    elif type(module).__module__.startswith("torch.nn."):
        names = list(TORCH_LAYERS[type(module).__name__].fields)
    else:
        names = [key for key in vars(module) if not key.startswith("_") and key not in BOOKKEEPING]
    return {key: _plain(getattr(module, key), f"{name}.{key}") for key in names}


def _plain(value: object, name: str) -> Attribute:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, name) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item, name) for key, item in value.items()}
    raise StructureError(
        f"{name} cannot be written as plain data",
        got=type(value).__name__,
        fix="Keep only numbers, text, lists and tables as attributes of your module",
    )
