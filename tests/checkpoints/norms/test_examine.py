"""Checkpoints with their recorded statistics: the embedded one, trained ones, and forks' ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from ghost_deploy.checkpoints.norms.examine import judge_views
from ghost_deploy.checkpoints.norms.witness_images import WitnessImages
from ghost_deploy.core.errors import AmbiguousClassError
from ghost_deploy.demo.embedded import MODEL_FILE
from ghost_deploy.demo.scenes import make_scene
from ghost_deploy.judge.witness import witness_of_arrays, witness_of_files
from ghost_deploy.models import registry
from ghost_deploy.models.ghost import GhostBottleneck, GhostConv
from ghost_deploy.models.ghostnet_v2 import GhostModuleV2
from ghost_deploy.models.instantiate import build
from tests.support.assets import BCCD, CHECKPOINTS, SHARED, needs_assets, val_images

FORKS = SHARED / "forks"


def scenes(count: int = 8) -> WitnessImages:
    return witness_of_arrays([make_scene(seed).image for seed in range(count)])


def noise() -> WitnessImages:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 480, 640, 3), np.uint8)
    return witness_of_arrays(list(pixels))


def val(count: int = 8) -> WitnessImages:
    found = witness_of_files(val_images()[:count])
    assert found is not None
    return found


class Nothing(nn.Module):
    """In place of a shortcut: the addition is left out."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


def difference(loaded: LoadedCheckpoint, name: str) -> float:
    """Largest difference of the raw output from the recorded one."""
    data = np.load(FORKS / f"{name}.npz")
    out = loaded.net(torch.from_numpy(data["x"].astype(np.float32) / 255))
    return float((out - torch.from_numpy(data["out"])).abs().max())


def test_without_images_nothing_is_judged() -> None:
    report = load_checkpoint(MODEL_FILE).statistics
    assert report.verdict == "not judged"
    assert report.outcome is None
    assert "--images" in report.sentence
    assert report.norms == ()


def test_the_embedded_detector_agrees_with_scenes() -> None:
    report = load_checkpoint(MODEL_FILE, images=scenes()).statistics
    assert report.verdict == "agrees", report.sentence
    assert report.images == 8
    assert len(report.norms) == 91
    assert report.choices == ()


def test_it_is_not_judged_on_noise() -> None:
    report = load_checkpoint(MODEL_FILE, images=noise()).statistics
    assert report.verdict == "not judged"
    assert "not of the kind" in report.sentence


def test_wrong_arithmetic_disagrees_and_is_located(monkeypatch: pytest.MonkeyPatch) -> None:
    def exchanged(self: GhostConv, x: torch.Tensor) -> torch.Tensor:
        y = self.cv1(x)
        return torch.cat((self.cv2(y), y), 1)

    monkeypatch.setattr(GhostConv, "forward", exchanged)
    report = load_checkpoint(MODEL_FILE, images=scenes()).statistics
    assert report.verdict == "disagrees"
    assert report.outcome is False
    assert report.departs
    assert report.departs in report.sentence
    # The same fault on images of another kind is no verdict.
    assert load_checkpoint(MODEL_FILE, images=noise()).statistics.verdict == "not judged"


@needs_assets
@pytest.mark.parametrize(
    ("name", "used"), [("pair1-a", "GhostConv"), ("pair1-b", "GhostConvExchanged")]
)
def test_files_of_equal_bytes_get_their_own_reading(name: str, used: str) -> None:
    loaded = load_checkpoint(FORKS / f"{name}.pt", images=val())
    assert type(loaded.net.model[1]).__name__ == used
    assert loaded.statistics.verdict == "agrees", loaded.statistics.sentence
    (choice,) = [c for c in loaded.statistics.choices if c.class_path.endswith("GhostConv")]
    assert choice.decided_by == "images"
    assert choice.margin > 3
    assert difference(loaded, name) < 0.05


@needs_assets
def test_stock_names_are_stock_without_images_and_the_report_says_that_nothing_was_checked() -> (
    None
):
    loaded = load_checkpoint(FORKS / "pair1-b.pt")
    assert type(loaded.net.model[1]) is GhostConv
    assert {choice.decided_by for choice in loaded.statistics.choices} == {"class name"}
    assert "not checked" in loaded.statistics.sentence


@needs_assets
def test_statistics_of_another_kind_of_image_do_not_overrule_a_stock_name() -> None:
    loaded = load_checkpoint(FORKS / "pair1-b.pt", images=noise())
    assert type(loaded.net.model[1]) is GhostConv
    assert loaded.statistics.verdict == "not judged"


@needs_assets
def test_pooled_attention_or_not_is_decided_by_images_alone() -> None:
    path = FORKS / "ghostv2-nopool.pt"
    with pytest.raises(AmbiguousClassError, match="two readings fit"):
        load_checkpoint(path)
    loaded = load_checkpoint(path, images=val())
    assert loaded.statistics.verdict == "agrees", loaded.statistics.sentence
    assert difference(loaded, "ghostv2-nopool") < 0.05


@needs_assets
def test_a_reading_that_no_definition_has_disagrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.RIVALS, GhostModuleV2, ())
    report = load_checkpoint(FORKS / "ghostv2-nopool.pt", images=val()).statistics
    assert report.verdict == "disagrees"
    assert "short_conv" in report.departs


@needs_assets
def test_plots_of_the_training_decide_and_do_not_judge() -> None:
    images = val()
    plots = WitnessImages("training plots", images.count, images.views)
    loaded = load_checkpoint(FORKS / "ghostv2-nopool.pt", images=plots)
    assert type(loaded.net.model[2].m[0].ghost1).__name__ == "GhostModuleV2NoPool"
    assert loaded.statistics.verdict == "not judged"
    assert "plots" in loaded.statistics.sentence


@needs_assets
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    "images", [scenes, pytest.param(noise, marks=pytest.mark.slow)], ids=["scenes", "noise"]
)
def test_a_trained_checkpoint_is_not_refused_on_images_of_another_kind(
    checkpoint: Path, images: Callable[[], WitnessImages]
) -> None:
    assert load_checkpoint(checkpoint, images=images()).statistics.verdict == "not judged"


@needs_assets
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
def test_a_trained_checkpoint_agrees(checkpoint: Path) -> None:
    report = load_checkpoint(checkpoint, images=val()).statistics
    assert report.verdict == "agrees", report.sentence
    assert report.view == "416 x 416 pixels"
    assert all(choice.margin > 2 for choice in report.choices)


@needs_assets
def test_each_reading_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[tuple[str, ...]] = []

    def counted(*args: Any, choices: Any, **more: Any) -> Any:
        built.append(tuple(choices.values()))
        return build(*args, choices=choices, **more)

    monkeypatch.setattr("ghost_deploy.checkpoints.norms.examine.build", counted)
    report = load_checkpoint(CHECKPOINTS[0], images=val(4)).statistics
    assert report.verdict == "agrees"
    assert len(built) > 1
    assert len(set(built)) == len(built)


@needs_assets
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
def test_one_wrong_module_of_many_is_not_said_to_agree(checkpoint: Path) -> None:
    net = load_checkpoint(checkpoint).net
    block = net.get_submodule("model.4.m.0")
    assert isinstance(block, GhostBottleneck)
    assert isinstance(block.shortcut, nn.Identity)
    block.shortcut = Nothing()
    _, verdict = judge_views(net, next(val().views((416, 416), 32)))
    assert verdict.verdict != "agrees"


@needs_assets
def test_another_size_than_that_of_training_is_not_judged() -> None:
    net = load_checkpoint(CHECKPOINTS[0]).net
    _, verdict = judge_views(net, next(val().views((640, 640), 32)))
    assert verdict.verdict == "not judged"
    assert "another size" in verdict.sentence


@pytest.mark.slow
@needs_assets
@pytest.mark.parametrize("checkpoint", CHECKPOINTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("count", [16, 32])
def test_a_trained_checkpoint_agrees_on_more_images(checkpoint: Path, count: int) -> None:
    report = load_checkpoint(checkpoint, images=val(count)).statistics
    assert report.verdict == "agrees", report.sentence
    assert BCCD.is_dir()
