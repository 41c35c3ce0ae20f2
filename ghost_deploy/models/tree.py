"""A network as plain data: the content of a checkpoint, without torch objects.

An Ultralytics pickle and our own safetensors form are both read as a tree of `ModuleNode`.
`ghost_deploy.models.instantiate` builds torch modules of a tree, `ghost_deploy.models.tree_writer`
a tree of torch modules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Attribute: TypeAlias = "bool | int | float | str | list[Attribute] | dict[str, Attribute] | None"
"""The value of an attribute. Tuples, sets and torch sizes are converted to lists."""


@dataclass(frozen=True)
class TensorInfo:
    """Key, type and shape of a tensor; `dtype` is a torch name such as `float16`.

    `key` identifies the data in the store of the tree. Tensors are contiguous.
    """

    key: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModuleNode:
    """One module of the network.

    Attributes:
        class_path: `module.Class` as named in the checkpoint, e.g.
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
        """Return the attribute `name`, or `default`."""
        return self.attributes.get(name, default)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, ModuleNode]]:
        """Yield (dotted name, node) of this node and all nodes below, in registration order."""
        yield prefix, self
        for name, child in self.children.items():
            yield from child.walk(f"{prefix}.{name}" if prefix else name)
