"""Batches over cameras on real models: the detections are those of each image alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.processing.images import read_image
from ghost_deploy.stream.pipeline import Pipeline
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.sources.reader import Loader, Reader
from ghost_deploy.stream.sources.source_table import SourceAddress
from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.running_pipeline import FAST, run_all

SOURCES = 3


class Images(Reader):
    """A source of images in memory."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = iter(paths)
        self._path: Path | None = None

    def grab(self) -> int | None:
        self._path = next(self._paths, None)
        return None if self._path is None else 1

    def load(self) -> Loader:
        path = self._path
        return lambda: read_image(str(path))

    def close(self) -> None:
        """Nothing is held."""


def results(detector: gd.Detector, policy: LivePolicy) -> dict[tuple[str, int], Result]:
    paths = val_images()[:12]
    pipeline = Pipeline(
        detector,
        [SourceAddress("video", str(i), str(i)) for i in range(SOURCES)],
        policy,
        opener=lambda source, _: Images(paths[int(source.target) :: SOURCES]),
    )
    seen = run_all(pipeline)
    return {(result.source, result.frame.index): result for result in seen.results}


@needs_assets
@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["openvino", "ort"])
def test_batches_change_no_detection(
    runtime: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip({"ort": "onnxruntime"}.get(runtime, runtime))
    folder = tmp_path_factory.mktemp("dynamic") / "bundle"
    form = {"ort": "onnx"}.get(runtime, runtime)
    gd.export(GHOST, folder, formats=(form,), precisions=("fp32",), dynamic=True)
    with gd.load(folder, runtime=runtime, precision="fp32") as detector:
        alone = results(detector, FAST)
        together = results(detector, dataclasses.replace(FAST, batch=4, batch_wait_ms=1000))
    assert alone.keys() == together.keys()
    assert len(alone) == 12
    for key, one in alone.items():
        other = together[key]
        assert one.detections.names == other.detections.names
        assert len(one.detections)
        # A backend may sum in another order for another batch.
        np.testing.assert_allclose(one.detections.score, other.detections.score, atol=1e-5)
        np.testing.assert_allclose(one.detections.xyxy, other.detections.xyxy, atol=1e-2)
