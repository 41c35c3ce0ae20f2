"""The branch used of a head with two, also in our own form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from ghost_deploy.checkpoints.native import save_native
from ghost_deploy.core.bundle import Source
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec
from ghost_deploy.models.head import Branch
from ghost_deploy.models.zoo_yaml import build_zoo
from tests.support.module_trees import randomize

X = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))


def written(folder: Path, name: str) -> Path:
    net = build_zoo(name, nc=2)
    randomize(net)
    spec = ModelSpec(
        name=name,
        family="yolo",
        class_names=("a", "b"),
        input=InputSpec(size_hw=(64, 64)),
        head=HeadSpec(decoder="dfl", strides=net.strides),
    )
    save_native(folder / "n.safetensors", net, spec, Source(file="n.pt", sha256="0" * 64))
    return folder / "n.safetensors"


@pytest.fixture(scope="module")
def v10(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("v10"), "yolov10n")


def test_one2many_is_the_default(v10: Path) -> None:
    loaded = load_checkpoint(v10)
    assert loaded.net.branch == loaded.spec.head.branch == "one2many"
    assert loaded.spec.head.decoder == "dfl"
    assert loaded.net(X).shape == (1, 6, 84)


def test_one2one_is_chosen_recorded_and_kept(v10: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(v10, branch="one2one")
    assert loaded.spec.head == HeadSpec(decoder="one2one", strides=(8, 16, 32), branch="one2one")
    assert loaded.net(X).shape == (1, 84, 6)
    assert "one2one without NMS is used" in loaded.source.warnings[-1]
    save_native(tmp_path / "n", loaded.net, loaded.spec, loaded.source)
    again = load_checkpoint(tmp_path / "n")
    assert again.spec.head == loaded.spec.head
    assert torch.equal(again.net(X), loaded.net(X))
    assert_back(load_checkpoint(tmp_path / "n", branch="one2many"))


def assert_back(loaded: LoadedCheckpoint) -> None:
    assert loaded.spec.head.decoder == "dfl"
    notes = [note for note in loaded.source.warnings if "two branches" in note]
    assert notes == [
        "the head has two branches: one2many with NMS is used, as Ultralytics does since 8.4.142"
    ]


@pytest.mark.parametrize("branch", ["one2one", "one2many"])
def test_a_branch_that_is_not_there(branch: Branch, tmp_path: Path) -> None:
    path = written(tmp_path, "yolov8n")
    if branch == "one2many":
        assert load_checkpoint(path, branch=branch).net.branch == branch
        return
    with pytest.raises(UsageError, match="no one2one branch: got one2many"):
        load_checkpoint(path, branch=branch)
