"""Descriptions of checkpoints, also of unusable ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.checkpoints.inspection import Inspection, inspect_checkpoint
from ghost_deploy.checkpoints.records import GlobalRef
from ghost_deploy.core.errors import CheckpointError
from tests.support import forged_checkpoints as forged
from tests.support.assets import GHOST, GHOSTNET, needs_assets

pytestmark = needs_assets


@pytest.mark.parametrize(
    "data", [b"", b"text that is no checkpoint", b"PK\x03\x04" + bytes(100)],
    ids=["empty", "text", "broken zip"],
)  # fmt: skip
def test_what_cannot_be_read_at_all_is_an_error(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        inspect_checkpoint(forged.written(tmp_path, data))


def test_a_good_file() -> None:
    seen = inspect_checkpoint(GHOSTNET)
    assert seen.exportable
    assert seen.problems == ()
    assert (seen.format, seen.family, seen.scale) == ("ultralytics", "yolov8-ghostnet", "n")
    assert seen.class_names == ("RBC", "WBC", "Platelets")
    assert (seen.size_hw, seen.strides, seen.stride) == ((416, 416), (8, 16, 32), 32)
    assert seen.metrics["mAP50"] == pytest.approx(0.82821)
    uses = {use.path: use for use in seen.classes}
    assert uses["ultralytics.nn.modules.block.C2fGhost"].count == 4
    assert "C2fGhost" in uses["ultralytics.nn.modules.block.C2fGhost"].definition
    assert uses["ultralytics.nn.tasks.DetectionModel"].definition == "the network"
    assert msgspec.json.decode(msgspec.json.encode(seen), type=Inspection) == seen


def test_an_unknown_class_is_listed_with_all_that_is_known(tmp_path: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        forged.module_at(root, "model.2").target = GlobalRef("forkpkg.block", "HomeMade")

    seen = inspect_checkpoint(forged.written(tmp_path, forged.changed_checkpoint(change)))
    assert not seen.exportable
    assert "forkpkg.block.HomeMade" in seen.problems[0]
    assert "--modules" in seen.problems[0]
    unknown = [use.path for use in seen.classes if not use.known]
    assert unknown == ["forkpkg.block.HomeMade"]
    (found,) = seen.open_classes
    assert (found.path, found.count, found.module) == (unknown[0], 1, "model.2")
    assert any("cv1: Conv" in line for line in found.parts)
    assert any("[16, 32, 1, 1]" in line for line in found.parts)
    assert seen.advice.startswith("ghost-deploy export forged.pt --")
    assert seen.parameters == 1_719_549
    assert seen.strides == (8, 16, 32)
    assert seen.trained_with == "ultralytics 8.4.190"


def test_an_unknown_class_can_be_brought(tmp_path: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        forged.module_at(root, "model.0").target = GlobalRef("forkpkg", "MyConv")

    path = forged.written(tmp_path, forged.changed_checkpoint(change))
    definition = tmp_path / "mine.py"
    definition.write_text(
        "from torch import nn\n"
        "class MyConv(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return self.act(self.bn(self.conv(x)))\n"
    )
    seen = inspect_checkpoint(path, modules=[definition])
    assert seen.exportable, seen.problems
    assert {use.path: use.definition for use in seen.classes}["forkpkg.MyConv"] == "user's MyConv"


def test_a_hostile_file_is_described_and_nothing_is_built(tmp_path: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        root["x"] = forged.call("posix.system", "true")

    seen = inspect_checkpoint(forged.written(tmp_path, forged.changed_checkpoint(change)))
    assert not seen.exportable
    assert "posix.system" in seen.problems[0]
    assert "posix.system" in seen.names
    assert seen.gflops == 0.0
    assert seen.class_names == ("RBC", "WBC", "Platelets")


def test_several_problems_are_all_told(tmp_path: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        root["x"] = forged.call("posix.system", "true")
        root["model"].state["names"] = 5

    seen = inspect_checkpoint(forged.written(tmp_path, forged.changed_checkpoint(change)))
    assert len(seen.problems) == 2


def test_a_wrong_network_is_told(tmp_path: Path) -> None:
    def change(root: dict[str, Any]) -> None:
        root["model"].state["names"] = ["one"]

    seen = inspect_checkpoint(forged.written(tmp_path, forged.changed_checkpoint(change)))
    assert "1 class names" in seen.problems[0]
    assert seen.sha256 != inspect_checkpoint(GHOST).sha256
