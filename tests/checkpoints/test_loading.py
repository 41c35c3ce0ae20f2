"""Real checkpoints: the loaded networks compute what Ultralytics recorded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint, load_data
from ghost_deploy.checkpoints.records import Call
from ghost_deploy.checkpoints.user_modules import UserModules
from ghost_deploy.core.errors import CheckpointError, CorruptCheckpointError, UsageError
from ghost_deploy.core.spec import HeadSpec
from tests.support import forged_checkpoints as forged
from tests.support.assets import CHECKPOINTS, GHOST, GHOSTNET, needs_assets

pytestmark = needs_assets


@pytest.fixture(scope="module", params=CHECKPOINTS, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> tuple[Path, LoadedCheckpoint]:
    return request.param, load_checkpoint(request.param)


def test_an_absent_file() -> None:
    with pytest.raises(CheckpointError, match="cannot read"):
        load_checkpoint("absent.pt")


def test_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(CorruptCheckpointError, match="is empty"):
        load_checkpoint(forged.written(tmp_path, b""))


def test_raw_outputs_are_those_of_the_reference(case: tuple[Path, LoadedCheckpoint]) -> None:
    path, loaded = case
    recorded = np.load(path.with_suffix("").with_suffix(".reference.npz"))
    inputs = [key for key in recorded if key.startswith("input_416")]
    assert inputs
    for key in inputs:
        with torch.inference_mode():
            ours = loaded.net(torch.from_numpy(recorded[key]).float() / 255).numpy()
        theirs = recorded[key.replace("input", "raw")]
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours[:, :4], theirs[:, :4], rtol=0, atol=1e-3)
        np.testing.assert_allclose(ours[:, 4:], theirs[:, 4:], rtol=0, atol=1e-5)


def test_the_spec_says_what_the_file_says(case: tuple[Path, LoadedCheckpoint]) -> None:
    path, loaded = case
    spec = loaded.spec
    assert spec.name == path.stem
    assert spec.family == {GHOST: "yolov8-ghost", GHOSTNET: "yolov8-ghostnet"}[path]
    assert spec.class_names == ("RBC", "WBC", "Platelets")
    assert spec.input.size_hw == (416, 416)
    assert spec.input.stride == 32
    assert spec.head == HeadSpec(decoder="dfl", strides=(8, 16, 32))
    # The figures that Ultralytics' own summary prints for these two networks.
    assert spec.parameters == {GHOST: 1_719_549, GHOSTNET: 2_357_141}[path]
    assert 1.5 < spec.gflops < 3.5
    assert spec.trained_with == "ultralytics 8.4.190"


def test_the_source_has_the_metrics_and_no_paths(case: tuple[Path, LoadedCheckpoint]) -> None:
    path, loaded = case
    source = loaded.source
    assert source.file == path.name
    assert source.sha256 == loaded.spec.source_sha256
    assert source.metrics["mAP50-95"] == {GHOST: 0.56539, GHOSTNET: 0.51633}[path]
    assert source.class_paths["ultralytics.nn.modules.conv.GhostConv"] == "Ultralytics GhostConv"
    assert any("float16" in warning for warning in source.warnings)
    text = repr((source, loaded.spec))
    assert "/" not in text.replace("m/s", "")


def test_the_network_is_ready_for_inference(case: tuple[Path, LoadedCheckpoint]) -> None:
    net = case[1].net
    assert not net.training
    assert all(weights.dtype == torch.float32 for weights in net.parameters())
    assert not any(weights.requires_grad for weights in net.parameters())


def test_another_size() -> None:
    loaded = load_checkpoint(GHOST, size_hw=(320, 640))
    assert loaded.spec.input.size_hw == (320, 640)
    assert loaded.spec.input.min_hw == (320, 640)


@pytest.mark.parametrize("size", [(0, 32), (417, 416), (416, -32), (16384, 32)])
def test_a_size_that_does_not_fit(size: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        load_checkpoint(GHOST, size_hw=size)


def load_changed(change: Any) -> LoadedCheckpoint:
    return load_data("forged.pt", forged.changed_checkpoint(change), UserModules())


@pytest.mark.parametrize(
    ("imgsz", "size"),
    [(640, (640, 640)), (100, (128, 128)), ([300, 640], (320, 640)), (None, (640, 640)),
     ("640", (640, 640)), (10**9, (640, 640)), (True, (640, 640)), ([], (640, 640))],
)  # fmt: skip
def test_the_recorded_size_is_rounded_up(imgsz: object, size: tuple[int, int]) -> None:
    def change(root: dict[str, Any]) -> None:
        root["train_args"]["imgsz"] = imgsz
        root["model"].state["args"] = None

    loaded = load_changed(change)
    assert loaded.spec.input.size_hw == size
    assumed = any("640 is assumed" in warning for warning in loaded.source.warnings)
    assert assumed == (size == (640, 640) and imgsz != 640)


def test_the_averaged_network_is_preferred() -> None:
    def change(root: dict[str, Any]) -> None:
        root["ema"] = root["model"]
        root["model"] = "not this one"
        root |= {"epoch": 4, "optimizer": {"state": {}}, "version": "9.1.0", "train_metrics": None}

    warnings = " ".join(load_changed(change).source.warnings)
    for expected in ("after epoch 5", "Ultralytics 9.1.0", "no validation metrics"):
        assert expected in warnings


def test_a_file_that_is_the_network_itself() -> None:
    root = forged.ghost_root()
    data = forged.archive(forged.dumps(root["model"]), forged.ghost_storages())
    loaded = load_data("model.pt", data, UserModules())
    assert loaded.spec.trained_with == ""
    assert any("which version" in warning for warning in loaded.source.warnings)


def test_paths_of_the_training_machine_stay_there() -> None:
    def change(root: dict[str, Any]) -> None:
        root["model"].state["yaml"]["yaml_file"] = "/home/someone/secret/yolov8n-ghost.yaml"
        root["model"].state["pt_path"] = "/home/someone/secret/best.pt"
        root["train_args"]["data"] = forged.call("pathlib.PosixPath", "/home", "someone", "secret")
        forged.module_at(root, "model.2").state["note"] = "/home/someone/secret"

    loaded = load_changed(change)
    assert "someone" not in repr((loaded.source, loaded.spec))
    assert loaded.spec.family == "yolov8-ghost"


def test_what_fusing_leaves_behind_is_understood() -> None:
    """After `fuse()` a module's `forward` is its own `forward_fuse`, and there is no batch norm."""

    def change(root: dict[str, Any]) -> None:
        layer = forged.module_at(root, "model.0")
        del forged.part_of(layer, "_modules")["bn"]
        layer.state["forward"] = forged.call("builtins.getattr", layer, "forward_fuse")
        conv = forged.module_at(root, "model.0.conv")
        bias = forged.part_of(forged.module_at(root, "model.22.cv2.0.2"), "_parameters")["bias"]
        inner: Call = bias.args[0]
        small = Call("reduce", inner.target, (*inner.args[:2], (16,), *inner.args[3:]))
        forged.part_of(conv, "_parameters")["bias"] = Call(
            "reduce", bias.target, (small, *bias.args[1:])
        )

    assert load_changed(change).net.model[0].conv.bias is not None


def test_loading_is_isolated_and_imports_no_ultralytics() -> None:
    probe = (
        "import sys\n"
        "from ghost_deploy.checkpoints.loading import load_checkpoint\n"
        f"load_checkpoint({str(GHOSTNET)!r})\n"
        "print([m for m in sys.modules if m.startswith(('ultralytics', 'forkpkg'))])"
    )
    result = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
