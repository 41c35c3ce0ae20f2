"""The base of all blocks: declared parts, checked when a block is assembled.

A block is declared like a dataclass, with the names of the original's children and attributes:

    class SPPF(Block):
        origin = "Ultralytics SPPF"
        cv1: Conv                     # a child of that class
        m: nn.MaxPool2d
        n: Count = 3                  # an attribute, with a default for files without it

A child that may be None may be absent. A child in `may_lack` may be absent too and is then replaced
by an identity. `nn.Parameter` and `torch.Tensor` declare a parameter and a buffer of the block.

Forks give parts other names: `aliases` has them by the declared name. A part keeps the name of the
file, in the state_dict too, and is reached by the declared one.

There are two ways to create a block. `Block.assemble` assembles it from the parts in a checkpoint,
like unpickling, without `__init__`: all attributes and children are checked, then `fit` checks
their combination. `__init__(c1, c2, ...)` creates a new one for the zoo.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    TypeAlias,
    TypeVar,
    get_args,
    get_origin,
)

import torch
from torch import Tensor, nn

from ghost_deploy.models.fields import Check, MisfitError, checked
from ghost_deploy.models.fold import fold_bn
from ghost_deploy.models.torch_layer import BOOKKEEPING
from ghost_deploy.models.tree import ModuleNode

B = TypeVar("B", bound="Block")

Names: TypeAlias = "Mapping[str, tuple[str, ...]]"
"""Other names of parts, by the declared name."""


@dataclass(frozen=True)
class Declaration:
    """The parts that a block class declares.

    Attributes:
        attributes: a check of each attribute, by name.
        children: the accepted classes of each child, by name; `NoneType` if it may be absent.
        parameters, buffers: names of tensors of its own, and whether each may be absent.
    """

    attributes: Mapping[str, Check]
    children: Mapping[str, tuple[type, ...]]
    parameters: Mapping[str, bool]
    buffers: Mapping[str, bool]


class Block(nn.Module):
    """Base class of the definitions of checkpoint classes.

    Class attributes:
        origin: the original of this definition, e.g. `Ultralytics GhostConv`.
        may_lack: children that may be absent because they were folded into others.
        folds: pairs of children (convolution, batch norm) that are applied in succession.
        harmless: attributes of the original that do not affect the result.
        free_children: children may have any names; `fit` finds them by their classes.
        aliases: other names of children, tensors and attributes, by the declared name.
        declaration: the parts, read from the annotations.
    """

    origin: ClassVar[str] = ""
    may_lack: ClassVar[frozenset[str]] = frozenset()
    folds: ClassVar[tuple[tuple[str, str], ...]] = ()
    harmless: ClassVar[frozenset[str]] = frozenset()
    free_children: ClassVar[bool] = False
    aliases: ClassVar[Names] = {}
    declaration: ClassVar[Declaration]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.declaration = _declare(cls)

    @classmethod
    def assemble(cls: type[B], node: ModuleNode, children: Mapping[str, nn.Module]) -> B:
        """Assemble a block from its children and the attributes of its node.

        Args:
            node: the attributes.
            children: by name, already built.

        Raises:
            MisfitError: a part is missing, unknown, of another class or out of range.
        """
        parts = cls.declaration
        block = cls.__new__(cls)
        nn.Module.__init__(block)
        tensors = (*parts.parameters, *parts.buffers)
        renamed = cls._renamed(children, parts.children)
        renamed |= cls._renamed({**node.parameters, **node.buffers}, tensors)
        block.__dict__["_part_names"] = renamed
        _add_tensors(block, node, renamed)
        known = {renamed.get(name, name) for name in parts.children}
        unknown = [name for name in children if name not in known]
        if unknown and not cls.free_children:
            raise MisfitError(f"it has no child {', '.join(map(repr, sorted(unknown)))}")
        for name in unknown:
            _add_child(block, name, children[name])
        for name, accepted in parts.children.items():
            child = children.get(renamed.get(name, name))
            if child is None and name in cls.may_lack:
                child = nn.Identity()
            setattr(block, name, _accept(name, child, accepted))
        given = cls._renamed(node.attributes, parts.attributes)
        for name, check in parts.attributes.items():
            if (key := given.get(name, name)) in node.attributes:
                setattr(block, name, checked(key, check, node.attributes[key]))
            elif not hasattr(cls, name):
                raise MisfitError(f"attribute {name!r} is missing")
        # `fit` cannot check the content of a child defined by the user.
        if all(is_ours(child) for child in children.values()):
            block.fit()
        return block

    @classmethod
    def unknown(cls, node: ModuleNode) -> set[str]:
        """Return the names of attributes that the definition does not have.

        A module set to None is an attribute, not a child.
        """
        parts = cls.declaration
        absent = {
            each
            for name in (*parts.children, *parts.parameters)
            for each in (name, *cls.aliases.get(name, ()))
            if node.get(each, 0) is None
        }
        renamed = cls._renamed(node.attributes, parts.attributes)
        given = {renamed.get(name, name) for name in parts.attributes}
        known = given | cls.harmless | BOOKKEEPING | absent
        return set(node.attributes) - known

    @classmethod
    def _renamed(cls, found: Iterable[str], declared: Iterable[str]) -> dict[str, str]:
        """The name in the file of each declared part of a kind that has another one there.

        A flag and a child may have one name, e.g. `shortcut`.
        """
        names = set(found)
        renamed = {}
        for name in declared:
            present = [other for other in cls.aliases.get(name, ()) if other in names]
            if name not in names and present:
                renamed[name] = present[0]
        return renamed

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__.get("_part_names", {})
        return super().__getattr__(names.get(name, name))

    def __setattr__(self, name: str, value: Any) -> None:
        names = self.__dict__.get("_part_names", {})
        super().__setattr__(names.get(name, name), value)

    def fit(self) -> None:
        """Check the combination of the parts, e.g. that numbers of channels match.

        Raises:
            MisfitError: they do not match, so this is not their definition.
        """

    def verify(self) -> None:
        """Check the values of loaded tensors that the definition relies on.

        Raises:
            MisfitError: a value differs.
        """

    def fold(self) -> None:
        """Replace parts by an equivalent form with fewer layers for inference, in place."""
        for conv_name, bn_name in self.folds:
            conv, bn = getattr(self, conv_name), getattr(self, bn_name)
            if isinstance(bn, nn.BatchNorm2d):
                setattr(self, conv_name, fold_bn(conv, bn))
                setattr(self, bn_name, nn.Identity())

    if TYPE_CHECKING:
        # Any in nn.Module; a block returns one tensor.
        def __call__(self, *inputs: Any) -> Tensor: ...


def is_ours(module: nn.Module) -> bool:
    """Whether a module is a block or a torch layer, not a definition of the user."""
    return isinstance(module, Block) or type(module).__module__.startswith("torch.nn.")


def require(ok: bool, reason: str) -> None:
    """Raise `MisfitError` with `reason` unless `ok`."""
    if not ok:
        raise MisfitError(reason)


def expect_each(container: nn.Module, *accepted: type[nn.Module]) -> None:
    """Raise `MisfitError` unless all members of a container are of accepted classes."""
    for name, child in container.named_children():
        if is_ours(child) and not isinstance(child, accepted):
            raise MisfitError(
                f"member {name} must be {_names(accepted)}, got {type(child).__name__}"
            )


def _declare(cls: type[Block]) -> Declaration:
    """Read the annotations of a block class and its base classes."""
    attributes: dict[str, Check] = {}
    children: dict[str, tuple[type, ...]] = {}
    tensors: dict[type, dict[str, bool]] = {nn.Parameter: {}, Tensor: {}}
    for base in reversed(cls.__mro__):
        if base is Block or not issubclass(base, Block):
            continue
        for name, hint in inspect.get_annotations(base, eval_str=True).items():
            origin: Any = get_origin(hint)
            kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
            if origin is Annotated:
                attributes[name] = get_args(hint)[1]
            elif origin is not ClassVar and kinds[0] in tensors:
                tensors[kinds[0]][name] = types.NoneType in kinds
            elif origin is not ClassVar:
                children[name] = kinds
    return Declaration(attributes, children, tensors[nn.Parameter], tensors[Tensor])


def _add_tensors(block: Block, node: ModuleNode, renamed: Mapping[str, str]) -> None:
    """Set the block's own tensors, on the meta device.

    Raises:
        MisfitError: one is missing or unknown.
    """
    parts = block.declaration
    for declared, found, add in (
        (parts.parameters, node.parameters, _add_parameter),
        (parts.buffers, node.buffers, _add_buffer),
    ):
        names = {renamed.get(name, name): may_lack for name, may_lack in declared.items()}
        if unknown := sorted(set(found) - set(names)):
            raise MisfitError(f"it has no tensors of its own named {unknown}")
        for name, may_lack in names.items():
            if name not in found and not may_lack:
                raise MisfitError(f"tensor {name!r} is missing")
            add(block, name, found[name].shape if name in found else None)


def _add_child(block: Block, name: str, child: nn.Module) -> None:
    try:
        block.add_module(name, child)
    except KeyError as error:
        raise MisfitError(f"child {name!r} cannot be added: {error}") from error


def _add_parameter(block: Block, name: str, shape: tuple[int, ...] | None) -> None:
    data = None if shape is None else torch.empty(shape, device="meta")
    block.register_parameter(
        name, None if data is None else nn.Parameter(data, requires_grad=False)
    )


def _add_buffer(block: Block, name: str, shape: tuple[int, ...] | None) -> None:
    block.register_buffer(name, None if shape is None else torch.empty(shape, device="meta"))


def _accept(name: str, child: nn.Module | None, accepted: tuple[type, ...]) -> nn.Module | None:
    if child is None:
        if types.NoneType in accepted:
            return None
        raise MisfitError(f"child {name!r} is missing")
    if is_ours(child) and not isinstance(child, accepted):
        raise MisfitError(f"child {name!r} must be {_names(accepted)}, got {type(child).__name__}")
    return child


def _names(accepted: tuple[type, ...]) -> str:
    return " or ".join(kind.__name__ for kind in accepted)
