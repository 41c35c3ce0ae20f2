"""The command: its results are usable and record how they were made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ghost_deploy.checkpoints.inspection import inspect_checkpoint
from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.core.spec import decode_json
from tests.support.training_data import write_yolo
from tools.training.__main__ import main
from tools.training.record import ModelRecord

OPTIONS = ["--net", "yolov8n-ghost", "--size", "64", "--epochs", "1", "--batch", "2"]


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "nowhere.yaml"], "no data set description"),
        (["--scenes", "0"], "number of scenes is out of range"),
        (["--scenes", "4", "--rate", "2"], "--rate out of range"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*OPTIONS, *arguments, "--out", str(tmp_path / "run")]) == 2
    assert said in capsys.readouterr().err


def test_an_unknown_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = str(write_yolo(tmp_path))
    arguments = [*OPTIONS, "--data", data, "--out", str(tmp_path / "run")]
    arguments[1] = "resnet50"
    assert main(arguments) == 2
    assert "no network named 'resnet50'" in capsys.readouterr().err


def test_the_result_is_a_checkpoint_that_knows_its_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_yolo(tmp_path), tmp_path / "run"
    assert main([*OPTIONS, "--data", str(data), "--name", "spotter", "--out", str(out)]) == 0
    assert "epoch 1/1" in capsys.readouterr().out
    loaded = load_checkpoint(out / "model.safetensors")
    assert loaded.spec.name == "spotter"
    assert loaded.spec.family == "yolov8-ghost"
    assert loaded.spec.class_names == ("spot",)
    assert loaded.spec.input.size_hw == (64, 64)
    assert loaded.source.warnings == ()
    seen = inspect_checkpoint(out / "model.safetensors")
    assert seen.exportable
    assert seen.training["command"] == (
        "python -m tools.training --net yolov8n-ghost --data data.yaml --size 64 --epochs 1 "
        "--plain 0 --batch 2 --rate 0.0015 --seed 0 --zoom 0.5"
    )
    record = decode_json((out / "model.json").read_bytes(), ModelRecord, where="model.json")
    assert "start" not in seen.training
    assert record.sha256 == seen.sha256
    assert record.metrics == seen.metrics
    assert record.training == seen.training
    assert record.map50_95 == record.metrics["mAP50-95"]
    assert str(tmp_path.parent) not in str(record)


def test_a_training_from_other_weights_says_so(tmp_path: Path) -> None:
    data = write_yolo(tmp_path)
    again = [*OPTIONS, "--data", str(data)]
    assert main([*again, "--out", str(tmp_path / "first")]) == 0
    first = tmp_path / "first" / "model.safetensors"
    assert main([*again, "--init", str(first), "--out", str(tmp_path / "second")]) == 0
    seen = inspect_checkpoint(tmp_path / "second" / "model.safetensors")
    sha256, command = (
        inspect_checkpoint(first).sha256,
        inspect_checkpoint(first).training["command"],
    )
    assert seen.training["start"] == f"model.safetensors, sha256 {sha256}, from: {command}"
    assert seen.training["command"].endswith("--init model.safetensors")
