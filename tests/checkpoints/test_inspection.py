"""Descriptions of checkpoints, also of unusable ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.checkpoints.inspection import inspect_checkpoint
from ghost_deploy.checkpoints.inspection_record import Inspection
from ghost_deploy.checkpoints.native import describe_native
from ghost_deploy.checkpoints.records import GlobalRef
from ghost_deploy.core.errors import CheckpointError
from ghost_deploy.demo.embedded import MODEL_FILE
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
    assert seen.advice.startswith(f"ghost-deploy export {tmp_path}/forged.pt -o BUNDLE --fork")
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


@needs_assets
def test_what_the_file_says_comes_before_torch_is_imported() -> None:
    code = (
        "import sys\n"
        "import ghost_deploy as gd\n"
        "seen = []\n"
        "def on_read(read):\n"
        "    assert 'torch' not in sys.modules\n"
        "    seen.append(read)\n"
        f"found = gd.inspect({str(GHOST)!r}, on_read=on_read)\n"
        "assert found.exportable and found.fitted and not seen[0].fitted\n"
        "same = 'file bytes sha256 class_names size_hw strides family scale metrics trained_with'\n"
        "for name in same.split():\n"
        "    assert getattr(found, name) == getattr(seen[0], name), name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@needs_assets
def test_without_torch_the_file_is_described_and_the_rest_says_what_to_install() -> None:
    code = (
        "import importlib.util as util, sys\n"
        "sys.modules['torch'] = None\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'torch' else find(name, *more)\n"
        "import ghost_deploy as gd\n"
        f"found = gd.inspect({str(GHOST)!r})\n"
        "assert isinstance(found, gd.Inspection)\n"
        "assert found.class_names == ('RBC', 'WBC', 'Platelets') and len(found.sha256) == 64\n"
        "assert not found.fitted and not found.exportable and not found.problems\n"
        "assert 'pip install' in found.warnings[-1]\n"
        "try:\n"
        f"    gd.inspect({str(GHOST)!r}, modules=['none.py'])\n"
        "except gd.MissingExtraError as error:\n"
        "    assert 'pip install' in error.fix\n"
        "else:\n"
        "    raise AssertionError('modules need torch')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_torch_the_included_checkpoint_is_described() -> None:
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['safetensors'] = None\n"
        "import ghost_deploy as gd\n"
        f"found = gd.inspect({str(MODEL_FILE)!r})\n"
        "assert isinstance(found, gd.Inspection)\n"
        "assert found.class_names[0] == 'nut' and found.parameters == 1720134\n"
        "assert not found.fitted and 'pip install' in found.warnings[-1]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cut", [-1, -1000, 5000, 9, 8, 3])
def test_a_cut_file_is_refused_from_its_header(cut: int) -> None:
    with pytest.raises(CheckpointError):
        describe_native("model.safetensors", MODEL_FILE.read_bytes()[:cut])
