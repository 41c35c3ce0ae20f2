"""Pixels as the input of an int8 OpenVINO model: equal results, or the model as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

import ghost_deploy as gd
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.demo.scenes import make_scene
from ghost_deploy.detector import Detector
from ghost_deploy.processing.preprocess import convert_input
from ghost_deploy.runtimes.base import Hint, Runtime, RuntimeOptions
from ghost_deploy.runtimes.int8_forms import forms_here
from ghost_deploy.runtimes.openvino_pixels import with_pixel_input
from ghost_deploy.runtimes.table import open_file
from tests.support.checked_bundle import checked_bundle
from tests.support.exports import shared_folder

openvino = pytest.importorskip("openvino")
ops = pytest.importorskip("openvino.opset13")

SPEC = InputSpec(size_hw=(32, 64))
STATIC = (1, 3, 32, 64)


def small_model(
    *,
    shape: tuple[int, ...] = STATIC,
    ranges: tuple[float, ...] = (0, 1, 0, 1),
    levels: int = 256,
    convolutions: int = 1,
    also: str = "",
) -> Any:
    """A model that rounds its input, then convolves it; `also` names what else there is."""
    random = np.random.default_rng(1)
    images = ops.parameter(list(shape), np.float32, name="images")
    images.output(0).set_names({"images"})
    rounded = ops.fake_quantize(images, *(np.float32(each) for each in ranges), levels)
    shared = random.integers(-60, 61, (8, 3, 3, 3)).astype(np.int8)
    constant = ops.constant(shared)
    outputs = []
    for _ in range(convolutions):
        if also != "shared weights":
            constant = ops.constant(random.integers(-60, 61, (8, 3, 3, 3)).astype(np.int8))
        by = (1, 3, 1, 1) if also == "a scale for each input channel" else (8, 1, 1, 1)
        scale = random.uniform(0.001, 0.01, by).astype(np.float32)
        weights = ops.multiply(ops.convert(constant, np.float32), ops.constant(scale))
        if also == "computed weights":
            weights = ops.abs(weights)
        outputs.append(ops.convolution(rounded, weights, [2, 2], [1, 1], [1, 1], [1, 1]))
    if also == "another reader of the input":
        outputs.append(ops.relu(images))
    if also == "another reader of the levels":
        outputs.append(ops.relu(rounded))
    return openvino.Model([ops.result(each) for each in outputs], [images], "small")


def run(model: Any, images: NDArray[Any]) -> list[NDArray[Any]]:
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [value.copy() for value in compiled([images]).to_tuple()]


def pixels_of(shape: tuple[int, int, int] = (1, 32, 64)) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(2).integers(0, 256, (*shape, 3)).astype(np.uint8)
    pixels.reshape(-1)[:256] = np.arange(256)  # each value at least once
    return pixels


@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (small_model, 1),
        (lambda: small_model(convolutions=2), 1),
        (lambda: small_model(shape=(-1, 3, -1, -1)), 3),
    ],
    ids=["one convolution", "two", "any size"],
)
def test_equal_results(model: Callable[[], Any], batch: int, color: Any) -> None:
    spec = msgspec.structs.replace(SPEC, color=color)
    pixels = pixels_of((batch, 32, 64))
    changed = with_pixel_input(model(), spec, openvino)
    assert changed is not None
    assert changed.input(0).get_element_type() == openvino.Type.u8
    assert changed.input(0).get_any_name() == "images"
    tensor = convert_input(pixels, spec.as_pixels(), spec)
    for got, want in zip(run(changed, pixels), run(model(), tensor), strict=True):
        assert np.ptp(want) > 1
        assert np.array_equal(got, want)


@pytest.mark.parametrize(
    ("case", "spec"),
    [
        ({"ranges": (0, 1.001, 0, 1.001)}, {}),
        ({"ranges": (-1, 1, -1, 1)}, {}),
        ({"ranges": (0, 1, 0, 2)}, {}),
        ({"levels": 255}, {}),
        ({"shape": (1, 4, 32, 64)}, {}),
        ({"convolutions": 0, "also": "another reader of the levels"}, {}),
        ({"also": "another reader of the levels"}, {}),
        ({"also": "another reader of the input"}, {}),
        ({"convolutions": 2, "also": "shared weights"}, {}),
        ({"also": "a scale for each input channel"}, {}),
        ({"also": "computed weights"}, {}),
        ({}, {"mean": (0.1, 0.0, 0.0)}),
        ({}, {"std": (1.0, 1.0, 0.9)}),
        ({}, {"divisor": 256.0}),
        ({}, {"layout": "nhwc", "dtype": "uint8"}),
    ],
)
def test_what_would_be_another_model_is_left_alone(
    case: dict[str, Any], spec: dict[str, Any]
) -> None:
    if case.get("shape") == (1, 4, 32, 64):
        images = ops.parameter([1, 4, 32, 64], np.float32)
        model = openvino.Model([ops.result(ops.fake_quantize(images, 0, 1, 0, 1, 256))], [images])
    else:
        model = small_model(**case)
    before = {each.get_friendly_name() for each in model.get_ops()}
    assert with_pixel_input(model, msgspec.structs.replace(SPEC, **spec), openvino) is None
    assert {each.get_friendly_name() for each in model.get_ops()} == before


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The embedded detector with an int8 artifact for OpenVINO."""
    if not forms_here("openvino"):
        pytest.skip("OpenVINO runs no int8 here")

    def write(folder: Path) -> None:
        checked_bundle(folder, ("openvino",), ("onnx", "openvino"))

    return Bundle.read(shared_folder("checked-openvino", tmp_path_factory, write) / "bundle")


def opened(bundle: Bundle, stored: Any = "int8", **options: Any) -> Runtime:
    path = bundle.verified_path(bundle.artifact("openvino", stored))
    asked = RuntimeOptions(precision=stored, hint="throughput", pixel_input=True)
    return open_file("openvino", path, replace(asked, **options))


@pytest.mark.parametrize(
    ("stored", "options", "pixels"),
    [
        ("int8", {}, True),
        ("int8", {"precision": ""}, True),
        ("int8", {"hint": "latency"}, True),
        ("int8", {"hint": "once"}, False),
        ("int8", {"pixel_input": False}, False),
        ("fp32", {}, False),
        ("fp32", {"precision": ""}, False),
    ],
)
def test_where_it_is_done(
    bundle: Bundle, stored: str, options: dict[str, Any], pixels: bool
) -> None:
    with opened(bundle, stored, **options) as runtime:
        assert runtime.info.pixel_input == pixels
        (tensor,) = runtime.inputs
        side = bundle.spec.input.size_hw[0]
        form = ((1, side, side, 3), "uint8") if pixels else ((1, 3, side, side), "float32")
        assert (tensor.shape, tensor.dtype) == form


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_equal_detections(bundle: Bundle, hint: Hint) -> None:
    images = [make_scene(number).image for number in range(4)]
    spec = bundle.spec_of(bundle.artifact("openvino", "int8"))
    with (
        gd.load(bundle, "openvino", "int8", hint=hint) as detector,
        Detector(opened(bundle, pixel_input=False), spec) as plain,
    ):
        assert detector.spec.input.embedded
        assert not plain.spec.input.embedded
        for image in images:
            got, want = detector(image), plain(image)
            assert len(want)
            assert np.array_equal(got.xyxy, want.xyxy)
            assert np.array_equal(got.score, want.score)
            assert np.array_equal(got.class_id, want.class_id)


def test_the_cache_holds_both_forms(bundle: Bundle, tmp_path: Path) -> None:
    for pixels in (True, False, True, False):
        with opened(bundle, cache_dir=tmp_path, pixel_input=pixels) as runtime:
            assert runtime.info.pixel_input == pixels
            assert (runtime.inputs[0].dtype == "uint8") == pixels
    assert len(list(tmp_path.iterdir())) == 2
    with opened(bundle, cache_dir=tmp_path) as runtime:
        assert runtime._compiled.get_property("LOADED_FROM_CACHE")  # type: ignore[attr-defined]
