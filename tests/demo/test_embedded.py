"""The detector in the package: its size, its record and its accuracy."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
import torch

from ghost_deploy.checkpoints.inspection import inspect_checkpoint
from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from ghost_deploy.core.errors import SpecError
from ghost_deploy.core.evidence.accuracy import Accuracy
from ghost_deploy.demo.embedded import MODEL_FILE, TRAIN_FROM
from ghost_deploy.demo.scenes import CLASS_NAMES
from ghost_deploy.detector import Detector
from ghost_deploy.judge.accuracy.measure import measure
from ghost_deploy.runtimes.eager import EagerRuntime
from tools.training import record as record_module
from tools.training.record import embedded_record
from tools.training.scenes import held_out_scenes

MOST_BYTES = 4_000_000
GOAL = 0.60


@pytest.fixture(scope="module")
def loaded() -> LoadedCheckpoint:
    return load_checkpoint(MODEL_FILE)


def accuracy(loaded: LoadedCheckpoint, scenes: int, folder: Path) -> Accuracy:
    with Detector(EagerRuntime(loaded.net, loaded.spec.input), loaded.spec) as detector:
        return measure(detector, held_out_scenes(scenes, folder)).accuracy


def test_a_damaged_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(MODEL_FILE, tmp_path)
    (tmp_path / "model.json").write_text('{"name": 3}')
    monkeypatch.setattr(record_module, "MODEL_FILE", tmp_path / MODEL_FILE.name)
    with pytest.raises(SpecError, match=r"model\.json is not a valid ModelRecord"):
        embedded_record()


def test_the_record_is_that_of_the_file() -> None:
    record, seen = embedded_record(), inspect_checkpoint(MODEL_FILE)
    assert MODEL_FILE.stat().st_size <= MOST_BYTES
    assert record.sha256 == hashlib.sha256(MODEL_FILE.read_bytes()).hexdigest()
    assert record.name == "yolov8n-ghost-parts"
    assert record.class_names == seen.class_names == CLASS_NAMES
    assert record.size_hw == seen.size_hw
    assert record.parameters == seen.parameters
    assert record.metrics == seen.metrics
    assert record.training == seen.training
    assert record.training["command"].startswith("python -m tools.training --net yolov8n-ghost")
    assert f"seeds {TRAIN_FROM} to" in record.training["data"]
    assert set(record.classes) == set(CLASS_NAMES)
    assert seen.exportable
    assert seen.problems == seen.warnings == ()


def test_the_recorded_accuracy_reaches_the_goal() -> None:
    record = embedded_record()
    assert record.images >= 300
    assert record.map50_95 >= GOAL
    assert record.map50_95 == pytest.approx(
        sum(record.classes.values()) / len(record.classes), abs=2e-4
    )


def test_the_weights_are_whole_numbers_of_float16(loaded: LoadedCheckpoint) -> None:
    assert loaded.net.nc == len(CLASS_NAMES)
    for value in loaded.net.state_dict().values():
        assert torch.equal(value.half().to(value.dtype), value)


def test_it_finds_the_parts_of_scenes_that_it_never_saw(
    loaded: LoadedCheckpoint, tmp_path: Path
) -> None:
    found = accuracy(loaded, 12, tmp_path)
    # On so few scenes the figure spreads by several points around the recorded one.
    assert found.map50_95 == pytest.approx(embedded_record().map50_95, abs=0.12)
    assert found.map50 > 0.6


@pytest.mark.slow
def test_the_recorded_accuracy_is_measured_again(loaded: LoadedCheckpoint, tmp_path: Path) -> None:
    record = embedded_record()
    found = accuracy(loaded, record.images, tmp_path)
    assert found.boxes == record.boxes
    # Other builds of NumPy or OpenCV move pixels of the scenes by a level.
    assert found.map50_95 == pytest.approx(record.map50_95, abs=0.005)
    assert found.map50 == pytest.approx(record.metrics["mAP50"], abs=0.005)
