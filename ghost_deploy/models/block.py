"""The one mechanism behind every block: declared parts, checked when it is put together.

A block is declared like a dataclass, with the names of the original's children and attributes:

    class SPPF(Block):
        origin = "Ultralytics SPPF"
        cv1: Conv                     # a child of that class
        m: nn.MaxPool2d
        n: Count = 3                  # an attribute, with the value of files that lack it

A child that may be None may be absent. A child named in `may_lack` may be absent too: the
identity then stands in its place.

A block comes to life on two roads. `Block.assemble` puts it together from a checkpoint's parts,
as unpickling would, without `__init__`: nothing is guessed, every attribute and child is checked
and `fit` has the last word. `__init__(c1, c2, ...)` makes a new one from a zoo file.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from torch import Tensor, nn

from ghost_deploy.models.fields import Check, MisfitError
from ghost_deploy.models.fold import fold_bn
from ghost_deploy.models.torch_layers import BOOKKEEPING
from ghost_deploy.models.tree import ModuleNode

__all__ = ["Block", "Declaration", "expect_each", "require"]

B = TypeVar("B", bound="Block")


@dataclass(frozen=True)
class Declaration:
    """The parts that a block class declares.

    Attributes:
        attributes: the check of each, by name.
        children: the accepted classes of each, by name; `NoneType` for one that may be absent.
    """

    attributes: Mapping[str, Check]
    children: Mapping[str, tuple[type, ...]]


class Block(nn.Module):
    """Base of the blocks that stand for the classes of a checkpoint.

    Class attributes:
        origin: whose definition this is, e.g. `Ultralytics GhostConv`.
        may_lack: children that some files lack because they were folded into others.
        folds: pairs of children (convolution, batch norm) that run directly one after the other.
        harmless: attributes of the original on which no arithmetic depends here.
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
        """The block over children that exist already, with the node's attributes.

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
                setattr(block, name, _checked(name, check, node.attributes[name]))
            elif not hasattr(cls, name):
                raise MisfitError(f"attribute {name!r} is missing")
        # A child defined by the user has whatever inside it, on which `fit` cannot rely.
        if all(is_ours(child) for child in children.values()):
            block.fit()
        return block

    @classmethod
    def unknown(cls, node: ModuleNode) -> set[str]:
        """Names of attributes that the definition does not know.

        A module that was set to None is an attribute, not a child.
        """
        absent = {name for name in cls.declaration.children if node.get(name, 0) is None}
        known = set(cls.declaration.attributes) | cls.harmless | BOOKKEEPING | absent
        return set(node.attributes) - known

    def fit(self) -> None:
        """See that the parts belong together, e.g. that channel counts match.

        Raises:
            MisfitError: they do not, so this is not the definition that made them.
        """

    def verify(self) -> None:
        """See that the tensors, once they are in, are what the arithmetic relies on.

        Raises:
            MisfitError: they are not.
        """

    def fold(self) -> None:
        """Replace what has an exact shorter form for inference, in place."""
        for conv_name, bn_name in self.folds:
            conv, bn = getattr(self, conv_name), getattr(self, bn_name)
            if isinstance(bn, nn.BatchNorm2d):
                setattr(self, conv_name, fold_bn(conv, bn))
                setattr(self, bn_name, nn.Identity())

    if TYPE_CHECKING:
        # nn.Module says Any; a block maps its input to one tensor.
        def __call__(self, *inputs: Any) -> Tensor: ...


def is_ours(module: nn.Module) -> bool:
    """Whether a module is a block or a torch layer, not a definition brought by the user."""
    return isinstance(module, Block) or type(module).__module__.startswith("torch.nn.")


def require(ok: bool, reason: str) -> None:
    """Raise `MisfitError` with `reason` unless `ok`."""
    if not ok:
        raise MisfitError(reason)


def expect_each(container: nn.Module, *accepted: type[nn.Module]) -> None:
    """Raise `MisfitError` unless every member of a container is of one of the accepted classes."""
    for name, child in container.named_children():
        if is_ours(child) and not isinstance(child, accepted):
            raise MisfitError(
                f"member {name} must be {_names(accepted)}, got {type(child).__name__}"
            )


def _declare(cls: type[Block]) -> Declaration:
    """Read the annotations of a block class and of the blocks it derives from."""
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


def _checked(name: str, check: Check, value: object) -> object:
    try:
        return check(value)
    except MisfitError as reason:
        raise MisfitError(f"attribute {name!r}: {reason}") from None


def _names(accepted: tuple[type, ...]) -> str:
    return " or ".join(kind.__name__ for kind in accepted)
