"""What is written into the bundle."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from ghost_deploy.calib.graph.index import Graph
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.quantize.lint import lint
from ghost_deploy.calib.search.artifact_writer import (
    STRONG_FORM,
    Deposit,
    Kept,
    strong_form,
)
from ghost_deploy.calib.search.recipes import Recipe
from ghost_deploy.core.bundle import FORM_KEY, BundleWriter
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.evidence.int8 import Trial
from ghost_deploy.runtimes.tensorrt.calibration_cache import CACHE_FILE, read_calibration_cache
from tests.support.int8_fakes import FakeJudge, small_shop
from tests.support.small_graphs import ghost_net


def kept(deposit: Deposit, form: str) -> Kept:
    recipe = Recipe("minmax", form)  # type: ignore[arg-type]
    trial = Trial(form=form, recipe=recipe.name, points=56.76)
    return Kept(trial, recipe, deposit.shop.make(recipe))


def deposit_in(writer: BundleWriter) -> Deposit:
    shop = small_shop(writer.folder)
    judge = FakeJudge(lambda model: 56.0)
    return Deposit(writer, shop, judge, "p" * 64, max_drop=0.5)  # type: ignore[arg-type]


def test_a_float_model_has_no_strong_form() -> None:
    with pytest.raises((ExportError, StopIteration)):
        strong_form(ghost_net())


def test_tensorrt_gets_two_files_and_a_cache_each_judged_and_linted(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        deposit = deposit_in(writer)
        weak, strong = deposit.write("tensorrt", kept(deposit, "tensorrt"))
        folder = writer.folder
        assert (weak.artifact, weak.form, weak.status) == (
            "onnx-int8-tensorrt", "tensorrt", "passed",
        )  # fmt: skip
        assert (strong.artifact, strong.form) == ("onnx-int8-tensorrt-fp16", STRONG_FORM)
        assert weak.drop == pytest.approx(0.10)
        assert strong.drop == pytest.approx(0.86), "judged by its own file"
        assert strong.status == "failed"
        for form, strongly_typed in (("tensorrt", False), (STRONG_FORM, True)):
            model = onnx.load(folder / f"model.int8.{form}.onnx")
            assert {e.key: e.value for e in model.metadata_props}[FORM_KEY] == form
            assert lint(model, strongly_typed=strongly_typed) == []
        scales = read_calibration_cache(folder / CACHE_FILE).scales
        graph = Graph(deposit.shop.model)
        head = {n for n in find_structure(graph).head for n in graph.node[n].output}
        assert head & deposit.shop.statistics.keys()
        assert set(scales) == deposit.shop.statistics.keys() - head
        assert scales["images"] == pytest.approx(1 / 127, rel=1e-7), "pixels are 0 to 1"
        (artifact, other) = writer.draft(deposit.shop.spec, source(), "test").artifacts
        assert set(artifact.files) == {"model.int8.tensorrt.onnx", CACHE_FILE}
        assert other.form == STRONG_FORM


def test_without_a_strong_form_the_row_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: object) -> None:
        raise ExportError("no float16 rest", got="a constant of 1e9", fix="Use the other form")

    monkeypatch.setattr("ghost_deploy.calib.search.artifact_writer.to_strong_fp16", fail)
    with BundleWriter(tmp_path / "b") as writer:
        deposit = deposit_in(writer)
        (row,) = deposit.write("tensorrt", kept(deposit, "tensorrt"))
        assert row.notes[-1].endswith("no float16 rest: a constant of 1e9")


def test_the_form_of_onnx_runtime_is_one_file(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        deposit = deposit_in(writer)
        (row,) = deposit.write("ort-x86", kept(deposit, "ort-x86"))
        assert row.artifact == "onnx-int8-ort-x86"
        assert row.notes == ()


def source() -> object:
    from ghost_deploy.core.bundle import Source

    return Source(file="best.pt", sha256="s" * 64, trained_with="")
