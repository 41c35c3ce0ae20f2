"""What is written into the bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from ghost_deploy.calib.forms import FORMS
from ghost_deploy.calib.graph.index import index_float
from ghost_deploy.calib.graph.structure import find_structure
from ghost_deploy.calib.quantize.int8_files import STRONG_FORM, strongly_typed_form
from ghost_deploy.calib.quantize.lint import lint
from ghost_deploy.calib.search.artifact_writer import ArtifactWriter, Int8Candidate
from ghost_deploy.core.bundle import FORM_KEY, BundleWriter, Source
from ghost_deploy.core.errors import ExportError
from ghost_deploy.core.evidence.int8 import FileAccuracy, Int8Row, Trial
from ghost_deploy.runtimes.int8_forms import ort_form
from ghost_deploy.runtimes.run_plan import plan_runs
from ghost_deploy.runtimes.tensorrt.calibration_cache import CACHE_FILE, read_calibration_cache
from tests.support.int8_fakes import SPEC, FakeJudge, small_builder
from tests.support.int8_forms import minmax
from tests.support.qdq_rules import qdq_faults
from tests.support.small_graphs import ghost_net


def write(artifacts: ArtifactWriter, form: str) -> list[Int8Row]:
    recipe = minmax(form)
    trial = Trial(form=form, recipe=recipe.name, points=56.76)
    judged = FileAccuracy(points=56.76, images=87)
    chosen = Int8Candidate(trial, judged, recipe, artifacts.builder.build(recipe))
    return artifacts.write(FORMS[form], chosen)


def artifacts_in(writer: BundleWriter, max_drop: float = 0.5) -> ArtifactWriter:
    builder = small_builder(writer.folder)
    judge = FakeJudge(lambda model: 56.0)
    return ArtifactWriter(writer, builder, judge, "p" * 64, max_drop=max_drop)


def test_a_float_model_has_no_strongly_typed_form() -> None:
    with pytest.raises((ExportError, StopIteration)):
        strongly_typed_form(ghost_net())


def test_tensorrt_gets_two_files_and_a_cache_each_judged_and_linted(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        artifacts = artifacts_in(writer)
        weak, strong, *_ = write(artifacts, "tensorrt")
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
        graph = index_float(artifacts.builder.model)
        head = {n for n in find_structure(graph).head for n in graph.node[n].output}
        assert head & artifacts.builder.statistics.keys()
        assert set(scales) == artifacts.builder.statistics.keys() - head
        assert scales["images"] == pytest.approx(1 / 127, rel=1e-7), "pixels are 0 to 1"
        (artifact, other, *_) = writer.draft(artifacts.builder.spec, source(), "test").artifacts
        assert set(artifact.files) == {"model.int8.tensorrt.onnx", CACHE_FILE}
        assert other.form == STRONG_FORM


def test_without_a_strong_form_the_row_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: object) -> None:
        raise ExportError("no float16 rest", got="a constant of 1e9", fix="Use the other form")

    monkeypatch.setattr("ghost_deploy.calib.quantize.int8_files.to_strong_fp16", fail)
    with BundleWriter(tmp_path / "b") as writer:
        artifacts = artifacts_in(writer)
        row, *others = write(artifacts, "tensorrt")
        assert any(note.endswith("no float16 rest: a constant of 1e9") for note in row.notes)
        assert others == []


def test_other_placements_are_prepared_for_the_device(tmp_path: Path) -> None:
    """Which is faster shows there alone; each is linted and judged by its own file."""
    with BundleWriter(tmp_path / "b") as writer:
        artifacts = artifacts_in(writer, max_drop=1.0)
        first, *others = write(artifacts, "tensorrt")
        assert [row.artifact for row in others] == [
            "onnx-int8-tensorrt-fp16",
            "onnx-int8-tensorrt-depthwise",
            "onnx-int8-tensorrt-depthwise-fp16",
            "onnx-int8-tensorrt-primary",
            "onnx-int8-tensorrt-primary-fp16",
        ]
        judged: Any = artifacts.judge
        assert judged.asked[-4:] == [
            "tensorrt-depthwise/minmax", "tensorrt-depthwise-fp16/minmax",
            "tensorrt-primary/minmax", "tensorrt-primary-fp16/minmax",
        ]  # fmt: skip
        for row in others:
            path = writer.folder / f"model.int8.{row.form}.onnx"
            model = onnx.load(path)
            assert {e.key: e.value for e in model.metadata_props}[FORM_KEY] == row.form
            assert qdq_faults(model, strongly_typed=row.form.endswith("-fp16")) == []
        assert first.notes[-1] == (
            "5 quantize and 0 dequantize kernels remain between int8 and float layers, as planned"
        )


def test_a_derived_form_that_loses_too_much_is_left_out(tmp_path: Path) -> None:
    def points(model: onnx.ModelProto) -> float:
        form = {entry.key: entry.value for entry in model.metadata_props}[FORM_KEY]
        return 40.0 if form == "tensorrt-depthwise-fp16" else 56.0

    with BundleWriter(tmp_path / "b") as writer:
        builder, judge = small_builder(writer.folder), FakeJudge(points)
        rows = write(ArtifactWriter(writer, builder, judge, "p" * 64, max_drop=1.0), "tensorrt")
        by_form = {row.form: row for row in rows}
        assert "tensorrt-depthwise-fp16" not in by_form
        assert by_form["tensorrt-depthwise"].notes[-1] == (
            "without tensorrt-depthwise-fp16: it loses 16.86 points"
        )
        assert not (writer.folder / "model.int8.tensorrt-depthwise-fp16.onnx").exists()


def test_a_placement_that_loses_too_much_is_left_out(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        artifacts = artifacts_in(writer, max_drop=0.5)
        rows = write(artifacts, "tensorrt")
        assert [row.form for row in rows] == ["tensorrt", STRONG_FORM]
        assert "without the placement depthwise: it loses too much" in rows[0].notes[-2]
        names = {path.name for path in writer.folder.glob("*.onnx")} - {"float.onnx"}
        assert names == {"model.int8.tensorrt.onnx", f"model.int8.{STRONG_FORM}.onnx"}


def test_the_form_of_onnx_runtime_is_one_file(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        artifacts = artifacts_in(writer)
        (row,) = write(artifacts, "ort-x86")
        assert row.artifact == "onnx-int8-ort-x86"
        assert row.notes == ()


def source() -> object:
    from ghost_deploy.core.bundle import Source

    return Source(file="best.pt", sha256="s" * 64, trained_with="")


@pytest.mark.parametrize("form", ["ort-x86", "openvino"])
def test_a_candidate_is_an_artifact_of_its_own_for_the_same_kernels(
    form: str, tmp_path: Path
) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        artifacts = artifacts_in(writer)
        write(artifacts, form)
        recipe = replace(minmax(form), base="minmax, entry int8")
        trial = Trial(form=form, recipe=recipe.name, points=56.7)
        built = artifacts.builder.build(recipe)
        judged = FileAccuracy(points=56.7, images=87)
        row = artifacts.write_candidate(FORMS[form], Int8Candidate(trial, judged, recipe, built))
        assert row.form == f"{form}+minmax-entry-int8"
        assert "check decides" in row.notes[-1]
        draft = writer.draft(SPEC, Source(file="", sha256=""), "test")
        default, other = draft.artifacts
        assert (default.is_candidate, other.is_candidate) == (False, True)
        assert default.kernels == other.kernels == form
        assert other.id == row.artifact
        assert draft.verified_path(other) != draft.verified_path(default)
        if form == "openvino":
            assert Path(other.path).parent.name.endswith("_openvino_model")
        if form == ort_form():
            assert [run.foreign for run in plan_runs(draft, ["ort"])] == [False, False]
