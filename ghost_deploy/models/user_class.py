"""Classes that the user brought with `--modules` and thereby trusts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from ghost_deploy.models.fields import MisfitError, is_function
from ghost_deploy.models.torch_layers import BOOKKEEPING
from ghost_deploy.models.tree import ModuleNode

__all__ = ["UserClass"]


@dataclass(frozen=True)
class UserClass:
    """A definition whose parts are unknown here: everything in the file goes into it.

    Attributes:
        kind: the user's class.
    """

    kind: type[nn.Module]

    @property
    def origin(self) -> str:
        """Whose definition this is."""
        return f"user's {self.kind.__name__}"

    def assemble(self, node: ModuleNode, children: Mapping[str, nn.Module]) -> nn.Module:
        """The module as unpickling would make it: without `__init__`, with the file's attributes.

        What was a tuple is a list, because the tree knows no tuples.

        Raises:
            MisfitError: an attribute of the file would hide a method of the class, or the name of
                a child cannot be used.
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
            _add(module, name, child)
        return module

    def unknown(self, node: ModuleNode) -> set[str]:
        """No attribute is unknown to a definition that takes them all."""
        return set()


def _require_callable(kind: type[nn.Module], name: str, function: object) -> None:
    """Raise `MisfitError` unless the class itself has what the file only names."""
    if not callable(getattr(kind, name, None)):
        raise MisfitError(
            f"attribute {name!r} is {function} in the file: set it in the class, as "
            f"{name} = staticmethod(...)"
        )


def _add(module: nn.Module, name: str, child: nn.Module) -> None:
    try:
        module.add_module(name, child)
    except KeyError as error:
        raise MisfitError(f"child {name!r} cannot be added: {error}") from error
