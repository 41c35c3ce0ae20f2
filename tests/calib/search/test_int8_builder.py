"""Files of one float model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest

from ghost_deploy.calib.quantize import int8_files
from ghost_deploy.calib.quantize.conventions import PlacementOptions
from ghost_deploy.calib.quantize.nncf import quantize_openvino
from ghost_deploy.calib.recipes import Recipe, openvino_recipes
from ghost_deploy.calib.search import int8_builder
from ghost_deploy.core.bundle import FORM_KEY
from ghost_deploy.core.errors import ExportError, MissingExtraError
from tests.support.int8_fakes import small_builder
from tests.support.int8_forms import minmax
from tests.support.small_graphs import ghost_net, random_inputs, run

((NNCF,), (GELU,), *_) = openvino_recipes("openvino", {"": PlacementOptions()}, repair=False)


def test_without_nncf_its_recipe_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghost_deploy.calib.quantize.nncf.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="nncf"):
        small_builder(tmp_path).build(NNCF)


def test_a_file_that_tensorrt_would_refuse_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(model: object) -> None:
        raise ExportError("TensorRT would refuse the int8 graph", fix="Report this")

    builder = small_builder(tmp_path)
    monkeypatch.setattr(int8_files, "require_clean", refuse)
    with pytest.raises(ExportError):
        builder.build(minmax("tensorrt"))
    assert [path.name for path in tmp_path.rglob("*.*")] == ["float.onnx"]


@pytest.mark.parametrize(
    ("form", "steps"), [("tensorrt", 127), ("openvino", 255), ("ort-x86", 255), ("ort-arm", 255)]
)
def test_the_brightest_pixel_is_not_clipped(tmp_path: Path, form: str, steps: int) -> None:
    """Whatever range the method chose from the images."""
    options = PlacementOptions(first_conv="int8")
    recipe = Recipe("percentile", form, options, method="percentile", correct_bias=True)
    scale = small_builder(tmp_path).quantized(recipe).scales["images"].scale
    assert scale == np.float32(1 / steps)


@pytest.mark.parametrize("form", ["tensorrt", "ort-x86", "ort-arm"])
def test_a_file_names_its_form_and_lies_in_a_folder_of_its_own(tmp_path: Path, form: str) -> None:
    builder = small_builder(tmp_path)
    recipe = minmax(form)
    first, second = builder.build(recipe), builder.build(recipe)
    assert first.path != second.path
    assert first.path.read_bytes() == second.path.read_bytes()
    described = {each.key: each.value for each in onnx.load(first.path).metadata_props}
    assert described[FORM_KEY] == form
    assert first.planned_share is not None
    assert 0 < first.planned_share < 1


@pytest.mark.parametrize(
    ("form", "own"), [("tensorrt", False), ("ort-x86", True), ("ort-arm", False)]
)
def test_only_the_form_for_x86_is_in_the_runtimes_own_operators(
    tmp_path: Path, form: str, own: bool
) -> None:
    made = small_builder(tmp_path).build(minmax(form))
    kinds = {(node.domain, node.op_type) for node in onnx.load(made.path).graph.node}
    assert (("com.microsoft", "QLinearConv") in kinds) == own


@pytest.mark.parametrize("form", ["tensorrt", "ort-x86"])
def test_corrected_biases_bring_the_means_back(tmp_path: Path, form: str) -> None:
    builder = small_builder(tmp_path)
    plain = minmax(form)
    errors = []
    for recipe in (plain, replace(plain, correct_bias=True)):
        model = builder.quantized(recipe).model
        differences = [
            run(model, image, ["last:out"])[0] - run(ghost_net(), image, ["last:out"])[0]
            for image in random_inputs()
        ]
        errors.append(np.abs(np.mean(differences, axis=(0, 1, 3, 4))).max())
    assert errors[1] < errors[0] / 2


def test_recipes_that_start_with_nncf_share_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The small net's activations end at 2: steps finer than those of a trained network.
    monkeypatch.setattr("ghost_deploy.calib.quantize.openvino_rewrites.FINEST_STEP", 0)
    calls = []

    def counted(*given: Any, **named: Any) -> Any:
        calls.append(named["label"])
        return quantize_openvino(*given, **named)

    monkeypatch.setattr(int8_builder, "quantize_openvino", counted)
    builder = small_builder(tmp_path)
    kinds = []
    for recipe in (
        NNCF,
        GELU,
        NNCF.with_float(frozenset({"dense"})),
    ):
        made = openvino.Core().read_model(builder.build(recipe).path)
        kinds.append({op.get_type_name() for op in made.get_ops()} & {"Swish", "Gelu"})
    assert kinds == [{"Swish"}, {"Gelu"}, {"Swish"}]
    assert calls == ["openvino/nncf", "openvino/nncf/1-convolution-float"]
