"""The base of all blocks: declared parts, checked when a block is assembled.

A block is declared like a dataclass, with the names of the original's children and attributes:

    class SPPF(Block):
        origin = "Ultralytics SPPF"
        cv1: Conv                     # a child of that class
        m: nn.MaxPool2d
        n: Count = 3                  # an attribute, with a default for files without it

A child that may be None may be absent. A child in `may_lack` may be absent too and is then replaced
by an identity.

There are two ways to create a block. `Block.assemble` assembles it from the parts in a checkpoint,
like unpickling, without `__init__`: all attributes and children are checked, then `fit` checks
their combination. `__init__(c1, c2, ...)` creates a new one for the zoo.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from torch import Tensor, nn

from ghost_deploy.models.fields import Check, MisfitError, checked
from ghost_deploy.models.fold import fold_bn
from ghost_deploy.models.torch_layer import BOOKKEEPING
from ghost_deploy.models.tree import ModuleNode

B = TypeVar("B", bound="Block")


@dataclass(frozen=True)
class Declaration:
    """The parts that a block class declares.

    Attributes:
        attributes: a check of each attribute, by name.
        children: the accepted classes of each child, by name; `NoneType` if it may be absent.
    """

    attributes: Mapping[str, Check]
    children: Mapping[str, tuple[type, ...]]


class Block(nn.Module):
    """Base class of the definitions of checkpoint classes.

    Class attributes:
        origin: the original of this definition, e.g. `Ultralytics GhostConv`.
        may_lack: children that may be absent because they were folded into others.
        folds: pairs of children (convolution, batch norm) that are applied in succession.
        harmless: attributes of the original that do not affect the result.
        declaration: the parts, read from the annotations.
    """

    origin: ClassVar[str] = ""
    may_lack: ClassVar[frozenset[str]] = frozenset()
    folds: ClassVar[tuple[tuple[str, str], ...]] = ()
    harmless: ClassVar[frozenset[str]] = frozenset()
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
        if node.parameters or node.buffers:
            names = sorted({*node.parameters, *node.buffers})
            raise MisfitError(f"it has no tensors of its own, got {names}")
        if unknown := sorted(set(children) - set(parts.children)):
            raise MisfitError(f"it has no child {', '.join(map(repr, unknown))}")
        block = cls.__new__(cls)
        nn.Module.__init__(block)
        for name, accepted in parts.children.items():
            child = children.get(name)
            if child is None and name in cls.may_lack:
                child = nn.Identity()
            setattr(block, name, _accept(name, child, accepted))
        for name, check in parts.attributes.items():
            if name in node.attributes:
                setattr(block, name, checked(name, check, node.attributes[name]))
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
        absent = {name for name in cls.declaration.children if node.get(name, 0) is None}
        known = set(cls.declaration.attributes) | cls.harmless | BOOKKEEPING | absent
        return set(node.attributes) - known

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
    for base in reversed(cls.__mro__):
        if base is Block or not issubclass(base, Block):
            continue
        for name, hint in inspect.get_annotations(base, eval_str=True).items():
            origin: Any = get_origin(hint)
            if origin is Annotated:
                attributes[name] = get_args(hint)[1]
            elif origin is not ClassVar:
                is_union = isinstance(hint, types.UnionType)
                children[name] = get_args(hint) if is_union else (hint,)
    return Declaration(attributes, children)


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
