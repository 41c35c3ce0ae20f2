"""A network as plain data: what a checkpoint holds, before any torch object exists.

Both roads into a network, an Ultralytics pickle and our own safetensors form, end in a
`ModuleNode` tree; `ghost_deploy.models.instantiate` makes torch modules of it and makes a tree of
torch modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Attribute", "ModuleNode", "TensorInfo"]

Attribute: TypeAlias = "bool | int | float | str | list[Attribute] | dict[str, Attribute] | None"
"""What a node's attribute may hold. Tuples, sets and torch sizes became lists."""


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor's data is. `shape` in elements; `dtype` is a torch name such as `float16`.

    `key` finds the data in the store that came with the tree. Tensors are contiguous.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModuleNode:
    """One module of the network.

    Attributes:
        class_path: `module.Class` as the checkpoint names it, e.g.
            `ultralytics.nn.modules.conv.GhostConv` or `torch.nn.modules.conv.Conv2d`.
        attributes: plain public attributes (kernel_size, stride, eps, add, c, d, f, i, ...).
        parameters: by name (weight, bias).
        buffers: by name (running_mean, running_var, num_batches_tracked).
        children: by name, in the order of registration.
    """

    class_path: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    parameters: Mapping[str, TensorInfo] = field(default_factory=dict)
    buffers: Mapping[str, TensorInfo] = field(default_factory=dict)
    children: Mapping[str, ModuleNode] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """The last part of `class_path`."""
        return self.class_path.rpartition(".")[2]

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute `name`, or `default`."""
        return self.attributes.get(name, default)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, ModuleNode]]:
        """(dotted name, node) of this node and everything below it, in registration order."""
        yield prefix, self
        for name, child in self.children.items():
            yield from child.walk(f"{prefix}.{name}" if prefix else name)
