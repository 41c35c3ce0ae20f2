from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ghost_deploy.core.errors import StructureError
from ghost_deploy.models import registry
from ghost_deploy.models.block import Block, require
from ghost_deploy.models.conv import Conv
from ghost_deploy.models.fork_kinds import BY_PATTERN
from ghost_deploy.models.ghost import GhostConv
from ghost_deploy.models.instantiate import build
from ghost_deploy.models.registry import BLOCKS, CERTAIN, RIVALS, candidates
from ghost_deploy.models.tree import ModuleNode
from ghost_deploy.models.tree_writer import to_node
from tests.support.module_trees import tiny

DEFINITIONS = sorted(
    {block for row in (*BLOCKS.values(), *RIVALS.values()) for block in row},
    key=lambda block: block.__name__,
)


class NarrowGhostConv(Block):
    """Another thing called GhostConv: the same children, a cheap operation of kernel 1."""

    origin = "somebody's GhostConv"
    cv1: Conv
    cv2: Conv

    def fit(self) -> None:
        require(self.cv2.conv.kernel_size == (1, 1), "cv2 must be pointwise")

    def forward(self, x: Tensor) -> Tensor:
        return self.cv2(self.cv1(x))


def test_a_class_name_of_our_own_files_means_one_definition() -> None:
    names = [block.__name__ for block in DEFINITIONS]
    assert len(set(names)) == len(names)
    for block in DEFINITIONS:
        assert candidates(f"ghost_deploy.{block.__name__}", {}) == (block,)


@pytest.mark.parametrize("block", DEFINITIONS, ids=lambda block: block.__name__)
def test_every_definition_names_its_origin_and_its_parts(block: type[Block]) -> None:
    assert block.origin
    assert "origin" not in block.declaration.attributes
    parts = block.declaration
    assert parts.children or parts.attributes or parts.parameters or block.free_children
    assert block.may_lack <= block.declaration.children.keys()
    for first, second in block.folds:
        assert {first, second} <= block.declaration.children.keys()


def test_the_declaration_is_inherited() -> None:
    assert set(BLOCKS["C2fGhost"][0].declaration.children) == {"cv1", "cv2", "m"}
    assert set(BLOCKS["C2fGhost"][0].declaration.attributes) == {"c"}


def test_the_first_definition_that_fits_stands_for_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    node, tensors = to_node(tiny())
    node = as_fork(node)
    monkeypatch.setitem(registry.BLOCKS, "GhostConv", (NarrowGhostConv, GhostConv))
    net = build(node, tensors)
    assert net.origins["fork.GhostConv"] == "Ultralytics GhostConv"
    assert net(torch.zeros((1, 3, 64, 64))).shape == (1, 6, 320)
    monkeypatch.setitem(registry.BLOCKS, "GhostConv", (NarrowGhostConv,))
    monkeypatch.setattr(registry.fork_kinds, "of_kind", lambda name: ())
    with pytest.raises(StructureError, match="not somebody's GhostConv: cv2 must be pointwise"):
        build(node, tensors)


def as_fork(node: ModuleNode) -> ModuleNode:
    children = {name: as_fork(child) for name, child in node.children.items()}
    is_ghost_conv = node.class_name == "GhostConv"
    class_path = "fork.GhostConv" if is_ghost_conv else node.class_path
    return replace(node, class_path=class_path, children=children)


def test_rivals_compete_with_a_definition_of_the_table() -> None:
    listed = {block for table in (BLOCKS, BY_PATTERN) for row in table.values() for block in row}
    for definition, others in RIVALS.items():
        assert definition in listed
        assert others
        for rival in others:
            # A parent that accepts the definition accepts its rivals too.
            bases = [base for base in definition.__mro__ if base.__module__ != "builtins"]
            common = [base for base in bases if issubclass(rival, base) and base is not Block]
            assert any(issubclass(base, Block) for base in common)
            assert rival.origin != definition.origin
    for definition, names in CERTAIN.items():
        assert definition in RIVALS
        assert all(definition in candidates(f"fork.{name}", {}) for name in names)
