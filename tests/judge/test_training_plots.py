from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ghost_deploy.api.common import load_checkpoint
from ghost_deploy.api.inspect import inspect
from ghost_deploy.checkpoints.inspection_record import Inspection
from ghost_deploy.core.errors import AmbiguousClassError
from ghost_deploy.judge.training_plots import training_plots
from tests.support.assets import BCCD, SHARED, needs_assets

FORK = SHARED / "forks" / "ghostv2-nopool.pt"


def plot(images: list[NDArray[np.uint8]], side: int, tile: int = 320) -> NDArray[np.uint8]:
    """A mosaic as training plots it: white where there is no image, a white border around each."""
    mosaic = np.full((side * tile, side * tile, 3), 255, np.uint8)
    for index, image in enumerate(images):
        y, x = index // side * tile, index % side * tile
        mosaic[y : y + tile, x : x + tile] = cv2.resize(image, (tile, tile))
        cv2.rectangle(mosaic, (x, y), (x + tile, y + tile), (255, 255, 255), 2)
    return mosaic


def noise(count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 120, (64, 64, 3), np.uint8) for _ in range(count)]


def test_no_plots(tmp_path: Path) -> None:
    assert training_plots(tmp_path / "best.pt") is None
    (tmp_path / "train_batch0.jpg").write_bytes(b"no image")
    assert training_plots(tmp_path / "best.pt") is None


@pytest.mark.parametrize(("side", "count"), [(1, 1), (2, 3), (2, 4), (3, 9), (4, 16), (4, 13)])
def test_tiles_are_cut(tmp_path: Path, side: int, count: int) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    cv2.imwrite(str(tmp_path / "train_batch0.jpg"), plot(noise(count), side))
    found = training_plots(weights / "best.pt")
    assert found is not None
    assert (found.source, found.count) == ("training plots", count)
    (view, *_) = found.views((64, 64), 32)
    assert sum(len(batch) for batch in view.batches) == count


def test_plots_above_other_folders_are_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    cv2.imwrite(str(tmp_path / "train_batch0.jpg"), plot(noise(4), 2))
    assert training_plots(tmp_path / "models" / "best.pt") is None


@pytest.mark.slow
@needs_assets
def test_they_choose_between_readings(tmp_path: Path) -> None:
    weights = tmp_path / "run" / "weights"
    weights.mkdir(parents=True)
    checkpoint = Path(shutil.copy(FORK, weights / "best.pt"))
    with pytest.raises(AmbiguousClassError, match="--images"):
        load_checkpoint(checkpoint, ())
    refused = inspect(checkpoint)
    assert isinstance(refused, Inspection)
    assert not refused.exportable
    files = sorted((BCCD / "images" / "train").iterdir())[:32]
    for number in range(2):
        images = [cv2.imread(str(file)) for file in files[16 * number : 16 * number + 16]]
        mosaic = plot([image for image in images if image is not None], 4)
        cv2.imwrite(str(weights.parent / f"train_batch{number}.jpg"), mosaic)
    loaded = load_checkpoint(checkpoint, ())
    assert loaded.statistics.source == "training plots"
    assert loaded.statistics.verdict == "not judged"
    assert [row.decided_by for row in loaded.statistics.choices] == ["images"]
    assert type(loaded.net.model[2].m[0].ghost1).__name__ == "GhostModuleV2NoPool"
    found = inspect(checkpoint)
    assert isinstance(found, Inspection)
    assert found.exportable
    assert found.statistics is not None
    assert found.statistics.source == "training plots"
