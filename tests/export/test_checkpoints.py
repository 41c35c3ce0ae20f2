"""Real checkpoints: every artifact against the recorded output of the unfused original."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray

from ghost_deploy.checkpoints.loading import LoadedCheckpoint, load_checkpoint
from ghost_deploy.core.bundle import BundleWriter
from ghost_deploy.export.operators import TENSORRT_8_5
from tests.support.assets import GHOST, GHOSTNET, needs_assets
from tests.support.exports import export_artifacts, shared_float_bundle

pytestmark = needs_assets

SIZE = 416
# Box in pixels, score; fp16 as measured on both checkpoints (0.09 px, 0.0015), doubled.
LIMITS = {"fp32": (1e-3, 1e-5), "fp16": (0.2, 3e-3)}


@cache
def loaded(checkpoint: Path) -> LoadedCheckpoint:
    return load_checkpoint(checkpoint)


@cache
def recorded(checkpoint: Path, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two letterboxed images (2, 3, H, W) from 0 to 1, and the raw output (2, 7, A)."""
    archive = np.load(checkpoint.with_suffix("").with_name(f"{checkpoint.stem}.reference.npz"))
    names = sorted(key for key in archive if key.startswith(f"input_{size}_"))
    images = np.concatenate([archive[name] for name in names]).astype(np.float32)
    raw = np.concatenate([archive[name.replace("input_", "raw_")] for name in names])
    return images / np.float32(255), raw


@pytest.fixture(scope="module", params=[GHOST, GHOSTNET], ids=["ghost", "ghostnet"])
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A checkpoint and the folder of its static export."""
    return request.param, shared_float_bundle(request.param, tmp_path_factory).bundle.path


def run(path: Path, images: NDArray[np.float32]) -> NDArray[Any]:
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path)
        return np.asarray(session.run(["output0"], {"images": images})[0])
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", config)
    return np.asarray(compiled({"images": images})["output0"])


def worst(got: NDArray[Any], expected: NDArray[Any]) -> tuple[float, float]:
    """Largest difference of boxes and of scores, over anchors that score above 0.05."""
    sure = expected[:, 4:].max(1) > 0.05
    assert sure.sum() > 100
    difference = np.abs(got - expected).transpose(0, 2, 1)[sure]
    return float(difference[:, :4].max()), float(difference[:, 4:].max())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("form", ["model.{}.onnx", "model.{}_openvino_model/model.xml"])
def test_an_artifact_computes_what_the_original_did(
    folder: tuple[Path, Path], form: str, precision: str
) -> None:
    checkpoint, bundle = folder
    images, expected = recorded(checkpoint, SIZE)
    got = np.concatenate([run(bundle / form.format(precision), image[None]) for image in images])
    box, score = worst(got, expected)
    box_limit, score_limit = LIMITS[precision]
    assert box < box_limit
    assert score < score_limit


def test_the_graph_fits_the_oldest_parser(folder: tuple[Path, Path]) -> None:
    for precision in ("fp32", "fp16"):
        graph = onnx.load(folder[1] / f"model.{precision}.onnx").graph
        operators = {node.op_type for node in graph.node}
        assert operators <= TENSORRT_8_5 - {"Shape", "Gather", "Softmax"}
        assert sum(node.op_type == "Resize" for node in graph.node) >= 2


@pytest.mark.parametrize(
    "checkpoint",
    [GHOST, pytest.param(GHOSTNET, marks=pytest.mark.slow)],
    ids=["ghost", "ghostnet"],
)
def test_a_dynamic_export_runs_two_sizes_and_two_images(checkpoint: Path, tmp_path: Path) -> None:
    before = loaded(checkpoint).net(torch.full((1, 3, 64, 96), 0.5))
    with BundleWriter(tmp_path / "out") as writer:
        _, artifacts = export_artifacts(
            loaded(checkpoint), writer, precisions=["fp32"], dynamic=True
        )
        for artifact in artifacts:
            for size in (416, 640):
                images, expected = recorded(checkpoint, size)
                box, score = worst(run(writer.folder / artifact.path, images), expected)
                assert box < 1e-3, artifact.id
                assert score < 1e-5, artifact.id
    after = loaded(checkpoint).net(torch.full((1, 3, 64, 96), 0.5))
    assert torch.equal(before, after), "the source network was changed"
