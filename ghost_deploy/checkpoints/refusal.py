"""What a refused checkpoint lacks, and the one command that helps."""

from __future__ import annotations

from collections.abc import Iterable

from ghost_deploy.checkpoints.inspection_record import OpenClass
from ghost_deploy.core.errors import AmbiguousClassError, StructureError, UnknownClassError
from ghost_deploy.models.assembler import describe
from ghost_deploy.models.tree import ModuleNode


def open_classes(tree: ModuleNode | None, error: Exception) -> tuple[OpenClass, ...]:
    """Return the classes that an error of `build` names, with what the tree says of them."""
    if tree is None or not isinstance(error, UnknownClassError | AmbiguousClassError):
        return ()
    return tuple(_open_class(tree, path) for path in error.class_paths)


def advice_of(error: Exception, file: str) -> str:
    """Return the command that helps after an error of `build`; empty where none does."""
    if isinstance(error, AmbiguousClassError):
        return (
            f"ghost-deploy export {file} -o BUNDLE --images FOLDER (images of the kind that it "
            "was trained on decide which reading is right)"
        )
    if isinstance(error, UnknownClassError | StructureError):
        return (
            f"ghost-deploy export {file} -o BUNDLE --fork FOLDER (the code of the fork, run "
            "confined), or --modules FILE.py"
        )
    return ""


def _open_class(tree: ModuleNode, path: str) -> OpenClass:
    found = [(name, node) for name, node in tree.walk() if node.class_path == path]
    name, node = found[0] if found else ("", tree)
    return OpenClass(path=path, count=len(found), module=name, parts=_lines(describe(node)))


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in _printable(text.splitlines()))


def _printable(lines: Iterable[str]) -> Iterable[str]:
    """Lines without control characters: attributes of a hostile file may hold any text."""
    return ("".join(c if c.isprintable() else "?" for c in line) for line in lines)
