"""Classes of the user, given with `--modules` and thereby trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ghost_deploy.models.fields import MisfitError, is_function
from ghost_deploy.models.torch_layer import BOOKKEEPING
from ghost_deploy.models.tree import ModuleNode


@dataclass(frozen=True)
class UserClass:
    """A definition of unknown parts: all attributes and tensors of the file are set.

    Attributes:
        kind: the user's class.
    """

    kind: type[nn.Module]

    @property
    def origin(self) -> str:
        """The origin of this definition."""
        return f"user's {self.kind.__name__}"

    def assemble(self, node: ModuleNode, children: Mapping[str, nn.Module]) -> nn.Module:
        """Assemble the module like unpickling: without `__init__`, with the attributes of the file.

        Tuples are lists, because a tree has no tuples.

        Args:
            node: the attributes and tensor shapes.
            children: by name, already built.

        Raises:
            MisfitError: an attribute hides a method of the class, or the name of a child is
                invalid.
        """
        module = self.kind.__new__(self.kind)
        nn.Module.__init__(module)
        for name in sorted(node.attributes.keys() - BOOKKEEPING):
            if is_function(node.attributes[name]):
                _require_callable(self.kind, name, node.attributes[name])
                continue
            if callable(getattr(self.kind, name, None)):
                raise MisfitError(f"attribute {name!r} would hide a method")
            setattr(module, name, node.attributes[name])
        for name, info in node.parameters.items():
            empty = torch.empty(info.shape, device="meta")
            module.register_parameter(name, nn.Parameter(empty, requires_grad=False))
        for name, info in node.buffers.items():
            module.register_buffer(name, torch.empty(info.shape, device="meta"))
        for name, child in children.items():
            try:
                module.add_module(name, child)
            except KeyError as error:
                raise MisfitError(f"child {name!r} cannot be added: {error}") from error
        return module

    def unknown(self, node: ModuleNode) -> set[str]:
        """Return no names: all attributes are accepted."""
        return set()


def _require_callable(kind: type[nn.Module], name: str, function: object) -> None:
    """Raise `MisfitError` unless the class defines the function that the file names."""
    if not callable(getattr(kind, name, None)):
        raise MisfitError(
            f"attribute {name!r} is {function} in the file: set it in the class, as "
            f"{name} = staticmethod(...)"
        )
