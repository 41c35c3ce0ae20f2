"""Files for other vendors' runtimes that surely lose too much are not kept unless asked for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.api.gates import require_int8
from ghost_deploy.calib.forms import FORMS
from ghost_deploy.calib.quantize import ncnn_int8
from ghost_deploy.calib.search.artifact_writer import ArtifactWriter, Int8Candidate
from ghost_deploy.calib.search.left_out import keep_or_remove
from ghost_deploy.core.bundle import Bundle, BundleWriter, Source
from ghost_deploy.core.evidence.int8 import FileAccuracy, Trial
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.judge.accuracy.int8_judge import KEEP_LIMITS
from tests.support.assets import BCCD, GHOST, needs_assets
from tests.support.exports import shared_float_bundle
from tests.support.int8_fakes import SPEC, FakeJudge, small_builder
from tests.support.int8_forms import minmax
from tests.support.int8_reports import int8_row, small_int8_report

CASES = {
    "the interval is not known": (2.0, None, None, 1.0, True),
    "within both limits": (0.2, -0.3, 0.6, 1.0, True),
    "above the verdict's limit, perhaps below 1": (1.4, 0.6, 2.0, 1.0, True),
    "just at the limit": (1.5, 1.0, 2.0, 1.0, True),
    "wholly above": (1.5, 1.01, 2.0, 1.0, False),
    "far above": (53.5, 49.2, 58.4, 1.0, False),
    "far above, asked for": (53.5, 49.2, 58.4, None, True),
    "agreement, below 3": (3.4, 2.9, 4.0, KEEP_LIMITS["agreement"], True),
    "agreement, above 3": (3.4, 3.1, 4.0, KEEP_LIMITS["agreement"], False),
}


@pytest.mark.parametrize("form", ["a file", "a folder"])
@pytest.mark.parametrize("case", CASES)
def test_the_rule(tmp_path: Path, form: str, case: str) -> None:
    drop, low, high, limit, kept = CASES[case]
    with BundleWriter(tmp_path / "b") as writer:
        place = writer.folder / "net" if form == "a folder" else writer.folder
        place.mkdir(exist_ok=True)
        files = [place / name for name in ("net.bin", "net.param")]
        for file in files:
            file.write_bytes(b"net")
        other = writer.folder / "model.onnx"
        other.write_bytes(b"float")
        writer.add(format="onnx", precision="fp32", path=other, parent="", tools={})
        artifact = writer.add(
            format="ncnn",
            precision="int8",
            path=files[0],
            parent="",
            tools={},
            extra_files=files[1:],
        )
        row = int8_row(artifact.id, drop)
        row = msgspec.structs.replace(row, drop_low=low, drop_high=high)
        found = keep_or_remove(writer, artifact, row, limit)
        ids = [each.id for each in writer.draft(SPEC, source(), "test").artifacts]
        assert ids == ["onnx-fp32", *["ncnn-int8"] * kept]
        assert [file.exists() for file in files] == [kept, kept]
        assert (place.exists(), other.exists()) == (kept or form == "a file", True)
    assert found.kept is kept
    if kept:
        assert found == row
    else:
        assert found.status == "failed"
        assert f"above {limit:g}; --max-drop POINTS keeps it" in found.notes[-1]


def source() -> Source:
    return Source(file="best.pt", sha256="0" * 64)


@pytest.mark.parametrize(
    ("of_vendor", "limit", "kept"),
    [(True, 1.0, False), (True, None, True), (False, 1.0, True), (False, None, True)],
)
def test_forms_of_our_own_runtimes_keep_the_file_with_its_verdict(
    tmp_path: Path, of_vendor: bool, limit: float | None, kept: bool
) -> None:
    form = replace(FORMS["ort-x86"], left_out=of_vendor)
    with BundleWriter(tmp_path / "b") as writer:
        builder, judge = small_builder(writer.folder), FakeJudge(lambda model: 50.0)
        artifacts = ArtifactWriter(writer, builder, judge, "p" * 64, 0.5, keep_limit=limit)
        recipe = minmax(form.name)
        judged = FileAccuracy(points=50.0, images=87, low=5.0, high=8.0)
        trial = Trial(form=form.name, recipe=recipe.name, points=50.0)
        built = builder.build(recipe)
        (row,) = artifacts.write(form, Int8Candidate(trial, judged, recipe, built))
        assert (row.status, row.kept) == ("failed", kept)
        assert (writer.folder / form.path).exists() is kept


def test_only_forms_of_other_vendors_are_left_out() -> None:
    assert {form.format for form in FORMS.values() if form.left_out} == {"ncnn"}


def test_the_error_says_what_was_lost_and_what_to_do(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        row = int8_row("ncnn-int8", 1.5)
        row = msgspec.structs.replace(row, drop_low=1.1, drop_high=2.0, kept=False)
        draft = writer.draft(SPEC, source(), "test").with_evidence(
            small_int8_report(int8_row("onnx-int8-ort-x86", 0.7), row)
        )
        with pytest.raises(GateError) as caught:
            require_int8(draft)
    text = str(caught.value)
    assert "written without int8 files that surely lose too much" in text
    assert "got ncnn-int8 loses 1.50 points, 1.10 to 2.00 in 95 of 100 cases" in text
    assert "expected at most 0.5" in text
    assert "--max-drop POINTS keeps such a file" in text
    assert "onnx-int8" not in text, "that one is in the bundle with its verdict"


@pytest.mark.slow
@needs_assets
def test_ncnn_files_of_a_real_network(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With weights of four levels, the real judge is sure on BCCD; then the file is asked for."""
    pytest.importorskip("ncnn")
    pytest.importorskip("pnnx")
    round_weight = ncnn_int8.round_weight

    def coarse(weight: np.ndarray, scales: np.ndarray) -> np.ndarray:
        return (round_weight(weight, scales) // 64 * 64).clip(-127, 127).astype(np.int8)

    monkeypatch.setattr(ncnn_int8, "round_weight", coarse)
    place = tmp_path / "b"
    shutil.copytree(shared_float_bundle(GHOST, tmp_path_factory).bundle.path, place)
    train, data = BCCD / "images" / "train", BCCD / "data.yaml"
    how = gd.Calibration(source=train, count=64, data=data, speed=False)
    with pytest.raises(GateError, match="without int8 files that surely lose too much"):
        gd.calibrate(place, how, formats=["ncnn"])
    bundle = Bundle.read(place)
    assert "ncnn" not in {artifact.format for artifact in bundle.artifacts}
    assert not [*place.glob("*ncnn*")]
    assert bundle.evidence.int8 is not None
    (row,) = bundle.evidence.int8.rows
    assert row.drop_low is not None
    assert (row.kept, row.drop_low > 1) == (False, True)
    gd.calibrate(place, replace(how, max_drop=100.0), formats=["ncnn"])
    bundle = Bundle.read(place)
    assert [a.id for a in bundle.artifacts if a.format == "ncnn"] == ["ncnn-int8"]
    assert bundle.evidence.int8 is not None
    assert bundle.evidence.int8.rows[0].kept
