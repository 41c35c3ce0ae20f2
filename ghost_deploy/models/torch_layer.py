"""How a torch layer is built from the attributes in a checkpoint.

Layers are built on the meta device: their tensors have no memory until `build` loads the
checkpoint's tensors.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ghost_deploy.models.fields import Check, MisfitError, checked
from ghost_deploy.models.tree import ModuleNode

# Attributes of all modules, or added by Ultralytics to the layers of a network.
BOOKKEEPING = frozenset({"training", "i", "f", "type", "np"})


@dataclass(frozen=True)
class TorchLayer:
    """How to build a torch layer.

    Attributes:
        kind: the torch class.
        fields: a check of each constructor argument; the attribute has the same name.
        defaults: values of attributes that may be missing in a checkpoint.
        derived: attributes that depend on the others or on torch.
        has_bias: whether the constructor takes `bias`; true if the parameter exists.
        on_meta: whether the constructor takes `device`.
    """

    kind: type[nn.Module]
    fields: Mapping[str, Check] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    derived: frozenset[str] = frozenset()
    has_bias: bool = False
    on_meta: bool = False

    @property
    def origin(self) -> str:
        """The original of this definition."""
        return f"torch {self.kind.__name__}"

    def assemble(self, node: ModuleNode, children: Mapping[str, nn.Module]) -> nn.Module:
        """Build the layer, with tensors on the meta device.

        Args:
            node: the attributes and tensor shapes.
            children: of a container, by name, already built.

        Raises:
            MisfitError: an attribute is missing or out of range, or a tensor has another name or
                shape.
        """
        if issubclass(self.kind, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            if tensors := sorted({*node.parameters, *node.buffers}):
                raise MisfitError(f"a container has no tensors, got {tensors}")
            return self._container(children)
        if children:
            raise MisfitError(f"it has no children, got {sorted(children)}")
        arguments = {name: self._value(node, name) for name in self.fields}
        if self.has_bias:
            arguments["bias"] = "bias" in node.parameters
        if self.on_meta:
            arguments["device"] = "meta"
        try:
            layer = self.kind(**arguments)
        except (ValueError, RuntimeError) as error:
            raise MisfitError(f"torch refuses its attributes: {error}") from error
        _compare_tensors(layer, node)
        return layer

    def unknown(self, node: ModuleNode) -> set[str]:
        """Return the names of attributes that are not in this table."""
        return set(node.attributes) - set(self.fields) - self.derived - BOOKKEEPING

    def _value(self, node: ModuleNode, name: str) -> Any:
        if name not in node.attributes and name not in self.defaults:
            raise MisfitError(f"attribute {name!r} is missing")
        return checked(name, self.fields[name], node.attributes.get(name, self.defaults.get(name)))

    def _container(self, children: Mapping[str, nn.Module]) -> nn.Module:
        numbered = list(children) == [str(index) for index in range(len(children))]
        # Members of a Sequential may have names instead and run in the order of the file.
        named = self.kind is nn.Sequential and not any(name.isdigit() for name in children)
        if not numbered and not named and self.kind is not nn.ModuleDict:
            raise MisfitError(f"its members must be numbered from 0, got {list(children)}")
        if self.kind is nn.ModuleList:
            return nn.ModuleList(children.values())
        try:
            return self.kind(OrderedDict(children))
        except KeyError as error:
            raise MisfitError(f"a member cannot have that name: {error}") from error


def _compare_tensors(layer: nn.Module, node: ModuleNode) -> None:
    """Require that the layer and the node have tensors of equal names and shapes."""
    wanted = {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
    found = {name: info.shape for name, info in {**node.parameters, **node.buffers}.items()}
    # A counter of training steps, unused in inference and missing in some checkpoints.
    wanted.pop("num_batches_tracked", None)
    found.pop("num_batches_tracked", None)
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise MisfitError(
                f"tensor {name!r} has shape {found.get(name)}, its attributes say "
                f"{wanted.get(name)}"
            )
