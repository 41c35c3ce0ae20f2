"""Skeletons: networks without weights, from which tests build networks with random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

import ghost_deploy as gd
from ghost_deploy.checkpoints.records import GlobalRef
from ghost_deploy.checkpoints.skeleton import decode_skeleton, encode_skeleton, skeleton_of
from ghost_deploy.core.errors import CheckpointError, UsageError
from ghost_deploy.models.fuse import fuse
from ghost_deploy.models.tree import ModuleNode
from ghost_deploy.models.tree_writer import to_node
from tests.support import forged_checkpoints as forged
from tests.support.assets import GHOST, needs_assets
from tests.support.module_trees import tiny
from tests.support.skeletons import network_of_skeleton

STORED = sorted((Path(__file__).parents[1] / "data" / "skeletons").glob("*.json"))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"network": {"class": 3}}', b"\xff"])
def test_what_is_no_skeleton_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a skeleton"):
        decode_skeleton(data)
    with pytest.raises(CheckpointError, match="another version"):
        decode_skeleton(b'{"schema": 9, "network": {"class": "a.B"}}')


def test_a_skeleton_is_the_tree_without_data() -> None:
    tree, _ = to_node(tiny())
    again = decode_skeleton(encode_skeleton(skeleton_of(tree)))
    assert [name for name, _ in again.walk()] == [name for name, _ in tree.walk()]
    for (_, one), (_, other) in zip(again.walk(), tree.walk(), strict=True):
        assert one.class_path == other.class_path
        assert one.attributes == other.attributes
        shapes = [{k: v.shape for k, v in node.parameters.items()} for node in (one, other)]
        assert shapes[0] == shapes[1]


def test_nothing_private_is_kept() -> None:
    node = ModuleNode(
        "fork.Block",
        {
            "names": ["mine", "yours"],
            "weights": "/home/someone/secret.pt",
            "note": "a sentence of a person",
            "list": ["nearest", "C:\\secret"],
            "mode": "attn",
            "gate": {"function": "fork.blocks.hard_sigmoid"},
            "sizes": [1, 2.5, None, True],
        },
    )
    kept = skeleton_of(node).network.attributes
    assert kept == {key: node.attributes[key] for key in ("mode", "gate", "sizes")}


@needs_assets
def test_a_skeleton_of_a_refused_checkpoint(tmp_path: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        forged.module_at(root, "model.2").target = GlobalRef("forkpkg.block", "HomeMade")

    path = forged.written(tmp_path, forged.changed_checkpoint(change))
    seen = gd.inspect(path, skeleton=tmp_path / "out.json")
    assert not isinstance(seen, gd.Bundle)
    assert not seen.exportable
    text = (tmp_path / "out.json").read_text()
    assert "forkpkg.block.HomeMade" in text
    assert not any(name in text for name in ("Platelets", "bccd", "/"))
    assert len(text) < 300_000


@needs_assets
def test_a_network_of_a_skeleton(tmp_path: Path) -> None:
    gd.inspect(GHOST, skeleton=tmp_path / "out.json")
    net = network_of_skeleton(tmp_path / "out.json")
    assert net(torch.rand((1, 3, 64, 64))).shape == (1, 7, 84)


def test_the_zoo_has_skeletons_and_bundles_have_none(tmp_path: Path) -> None:
    gd.inspect("zoo:yolov8n-ghost", skeleton=tmp_path / "out.json")
    document = msgspec.json.decode((tmp_path / "out.json").read_bytes())
    assert document["network"]["class"] == "ghost_deploy.DetectionNet"
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "bundle.json").write_text("{}")
    with pytest.raises(UsageError, match="holds no module tree"):
        gd.inspect(tmp_path / "bundle", skeleton=tmp_path / "other.json")


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.stem)
def test_a_stored_skeleton_builds_and_folds(path: Path) -> None:
    """Put a skeleton into `tests/data/skeletons` and it is tested here."""
    net = network_of_skeleton(path).double()
    x = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0)).double()
    wanted = net(x)
    assert bool(torch.isfinite(wanted).all())
    torch.testing.assert_close(fuse(net)(x), wanted, rtol=1e-6, atol=1e-6)
