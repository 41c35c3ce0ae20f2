"""From nodes to modules: definitions are found by class name and verified by structure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from ghost_deploy.core.errors import StructureError, UnknownClassError
from ghost_deploy.models.block import Block
from ghost_deploy.models.fields import MisfitError, is_function
from ghost_deploy.models.readings import Choices, Kind, OpenChoice
from ghost_deploy.models.registry import Definition, UserClasses, candidates, is_certain, rivals
from ghost_deploy.models.tree import ModuleNode


class Assembler:
    """Builds modules from nodes, on the meta device, and records the definition of each class path.

    Args:
        extra: classes of the user, by class name.
        choices: the definition of each kind that leaves a choice.

    Attributes:
        origins: the origin of the definitions in use, by class path.
        notes: remarks for the user.
    """

    def __init__(self, extra: UserClasses, choices: Choices) -> None:
        self.extra = extra
        self.choices = choices
        self.origins: dict[str, str] = {}
        self.notes: list[str] = []
        self._open: dict[Kind, _Found] = {}

    def check_known(self, root: ModuleNode) -> None:
        """Raise UnknownClassError with all class paths below `root` without a definition."""
        paths = {node.class_path for name, node in root.walk() if name}
        unknown = tuple(sorted(path for path in paths if not candidates(path, self.extra)))
        if unknown:
            raise UnknownClassError(
                "the checkpoint uses module classes without a definition",
                got=", ".join(unknown),
                fix="Pass the code that defines them, if trusted: --fork DIR or --modules FILE.py",
                class_paths=unknown,
            )

    def module(self, node: ModuleNode, name: str) -> nn.Module:
        """Build the module of a node and its children, on the meta device.

        Raises:
            StructureError: no definition of the class matches.
        """
        children = {
            child_name: self.module(child, f"{name}.{child_name}")
            for child_name, child in node.children.items()
        }
        reasons = []
        for definition in candidates(node.class_path, self.extra):
            try:
                module = _fitted(definition, node, children)
            except MisfitError as reason:
                reasons.append(f"not {definition.origin}: {reason}")
                continue
            used, module = self._choose(definition, module, node, children, name)
            self._remember(node, used.origin, used.unknown(node))
            return module
        raise StructureError(
            f"{name} is a {node.class_path} of an unknown structure",
            got=f"{'; '.join(reasons)}. Found:\n{describe(node)}\n",
            fix="Pass the code that defines it, if trusted: --fork DIR or --modules FILE.py",
        )

    def open_choices(self) -> tuple[OpenChoice, ...]:
        """The kinds of modules built so far of which more than one definition fits."""
        return tuple(self._open_choice(kind, found) for kind, found in self._open.items())

    def _open_choice(self, kind: Kind, found: _Found) -> OpenChoice:
        options = tuple(each.__name__ for each in found.options)
        chosen = self.choices.get(kind)
        return OpenChoice(
            kind=kind,
            options=options,
            origins=tuple(each.origin for each in found.options),
            used=options[0] if chosen is None or chosen not in options else chosen,
            certain=is_certain(kind.class_path, found.options[0]),
            chosen=chosen in options,
            modules=tuple(found.modules),
        )

    def _choose(
        self,
        first: Definition,
        module: nn.Module,
        node: ModuleNode,
        children: Mapping[str, nn.Module],
        name: str,
    ) -> tuple[Definition, nn.Module]:
        """The chosen one of the definitions that fit a node, and its module.

        Args:
            first: the first definition that fits.
            module: as that definition assembled it.
            node, children, name: of the module.
        """
        fitting: dict[type[Block], nn.Module] = {}
        for rival in rivals(node.class_path, first):
            with contextlib.suppress(MisfitError):
                fitting[rival] = _fitted(rival, node, children)
        if not fitting or not isinstance(first, type):
            return first, module
        kind = Kind(node.class_path, first.__name__)
        found = self._open.setdefault(kind, _Found([first], []))
        found.options += [each for each in fitting if each not in found.options]
        found.modules.append(name)
        chosen = self.choices.get(kind, first.__name__)
        for rival, other in fitting.items():
            if rival.__name__ == chosen:
                return rival, other
        return first, module

    def _remember(self, node: ModuleNode, origin: str, unknown: set[str]) -> None:
        seen = self.origins.get(node.class_path)
        if seen is None:
            self.origins[node.class_path] = origin
        elif origin not in seen.split(" / "):
            self.origins[node.class_path] = f"{seen} / {origin}"
        if unknown:
            names = ", ".join(sorted(unknown))
            note = f"{node.class_path} has attributes that {origin} does not know: {names}"
            if note not in self.notes:
                self.notes.append(note)


@dataclass
class _Found:
    """The definitions that fit a kind of modules, the first one first, and their names."""

    options: list[type[Block]]
    modules: list[str]


def _fitted(
    definition: Definition, node: ModuleNode, children: Mapping[str, nn.Module]
) -> nn.Module:
    """The module of a definition; `MisfitError` if it does not fit."""
    module = definition.assemble(node, children)
    _require_no_function(node, definition.unknown(node))
    return module


def _require_no_function(node: ModuleNode, unknown: set[str]) -> None:
    """Raise `MisfitError` for an unknown attribute that names a function.

    It may be part of the computation; other unknown attributes are reported in a note.
    """
    for name in sorted(unknown):
        if is_function(node.attributes[name]):
            path = node.attributes[name]
            raise MisfitError(f"attribute {name!r} is a function that it does not know: {path}")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def describe(node: ModuleNode, lines: int = 24) -> str:
    """Describe a node for an error message: classes, attributes, tensor shapes.

    Args:
        node: to describe.
        lines: maximum number of lines.
    """
    text = []
    for name, part in node.walk():
        depth = name.count(".") + 1 if name else 0
        facts = [f"{key}={_cut(repr(value), 60)}" for key, value in sorted(part.attributes.items())]
        shapes = [f"{key}{list(info.shape)}" for key, info in part.parameters.items()]
        label = f"{name.rpartition('.')[2]}: " if name else ""
        line = f"{'  ' * depth}{label}{part.class_name}({', '.join(shapes + facts)})"
        text.append(_cut(line, 160))
        if len(text) > lines:
            return "\n".join([*text[:lines], "  ..."])
    return "\n".join(text)
