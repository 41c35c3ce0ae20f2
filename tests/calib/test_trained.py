"""All forms of a trained network, on real images."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

from ghost_deploy.calib.forms import FORMS
from ghost_deploy.calib.quantize.conventions import NAIVE, PlacementOptions
from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.checkpoints.loading import load_checkpoint
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.trace_onnx import onnx_from_net
from ghost_deploy.processing.images import read_image
from ghost_deploy.processing.preprocess import Preprocessor
from tests.support.assets import BCCD, GHOST, needs_assets, val_images
from tests.support.int8_forms import quantize
from tests.support.small_graphs import run, statistics_of

pytestmark = needs_assets


@cache
def network() -> tuple[ModelProto, dict[str, TensorStatistics], list[NDArray[np.float32]]]:
    """The fp32 graph, statistics of eight training images, and three other images."""
    loaded = load_checkpoint(GHOST)
    spec = plan_spec(loaded.spec, size_hw=(256, 256))
    model = onnx_from_net(loaded.net, spec, "fp32")
    prepare = Preprocessor(spec.input)
    training = sorted((BCCD / "images" / "train").glob("*.jpg"))[:8]
    feeds = [prepare([read_image(path)])[0].copy() for path in training]
    return (
        model,
        statistics_of(model, feeds),
        [prepare([read_image(path)])[0].copy() for path in val_images()[:3]],
    )


def errors(form: str, options: PlacementOptions | None = None) -> tuple[float, float]:
    """Mean error of boxes in pixels and of scores, of anchors that the float network trusts."""
    model, statistics, images = network()
    int8 = quantize(model, statistics, form, options, method="minmax").model
    wanted = np.concatenate([run(model, image)[0] for image in images])
    got = np.concatenate([run(int8, image)[0] for image in images])
    trusted = wanted[:, 4:].max(1) > 0.25
    assert trusted.sum() > 30
    difference = np.abs(got - wanted)
    boxes, scores = (part.max(1)[trusted].mean() for part in (difference[:, :4], difference[:, 4:]))
    return float(boxes), float(scores)


@pytest.mark.parametrize("form", FORMS)
def test_detections_stay_where_they_are(form: str) -> None:
    boxes, scores = errors(form)
    assert boxes < 1.5
    assert scores < 0.05


def test_rounding_everything_moves_boxes_by_pixels() -> None:
    assert errors("ort-x86", NAIVE)[0] > 3 * errors("ort-x86")[0]
