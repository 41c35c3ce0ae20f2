"""LiteRT files: what is refused, and with the real converter what they compute.

The converter takes 2 GB: the tests that need it run in `make test-litert`, which installs it into
an environment of its own and names it in GHOST_DEPLOY_LITERT_PYTHON.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import ExportError, MissingExtraError, UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export import litert
from ghost_deploy.export.plan import plan_export
from tests.support.assets import GHOST, GHOSTNET, SHARED, needs_assets, val_images
from tests.support.model_specs import make_spec

VARIABLE = "GHOST_DEPLOY_LITERT_PYTHON"
needs_converter = pytest.mark.skipif(
    not os.environ.get(VARIABLE) and importlib.util.find_spec("litert_torch") is None,
    reason=f"no litert-torch: make test-litert, or name its Python in {VARIABLE}",
)


@pytest.mark.parametrize(
    ("formats", "precisions", "message"),
    [
        (["litert"], ["int8"], "litert is not made in int8: int8 is no faster than fp32"),
        (["onnx", "litert"], ["fp32", "int8"], "ghost-deploy calibrate BUNDLE"),
        (["litert"], ["fp16"], "litert is not made in that precision: got fp16, expected fp32"),
    ],
)
def test_refused_precisions(formats: list[str], precisions: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_export(formats, precisions, calibrated="int8" in precisions)


@pytest.mark.parametrize("precisions", [[], ["fp32"], ["fp32", "fp16"]])
def test_the_plan(precisions: list[str]) -> None:
    plan = plan_export(["litert"], precisions)
    assert [target.id for target in plan.graphs] == ["litert-fp32"]


@pytest.mark.parametrize(
    ("dynamic", "nms", "got"), [(True, False, "dynamic"), (False, True, "nms")]
)
def test_shapes_that_are_refused(dynamic: bool, nms: bool, got: str) -> None:
    with pytest.raises(UsageError, match=f"litert is made for one size.*--{got}"):
        plan_export(["onnx", "litert"]).require_shape(dynamic=dynamic, nms=nms)
    plan_export(["onnx"]).require_shape(dynamic=dynamic, nms=nms)


@pytest.mark.skipif(importlib.util.find_spec("litert_torch") is not None, reason="it is installed")
@needs_assets
def test_an_absent_converter_is_known_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(MissingExtraError, match=r"litert-export.*--litert-python PATH"):
        gd.export(GHOST, tmp_path / "out", formats=("litert",))
    assert list(tmp_path.iterdir()) == []


@needs_assets
def test_a_python_without_the_converter(tmp_path: Path) -> None:
    if importlib.util.find_spec("litert_torch") is not None:
        pytest.skip("it is installed")
    with pytest.raises(MissingExtraError, match="--litert-python has no litert-torch"):
        gd.export(
            GHOST,
            tmp_path / "out",
            formats=("litert",),
            images=val_images()[:1],
            litert_python=sys.executable,
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"0123ABCD" * 9])
def test_a_converter_that_wrote_something_else(tmp_path: Path, content: bytes | None) -> None:
    converted = tmp_path / "converted"
    if content is not None:
        converted.write_bytes(content)
    with pytest.raises(ExportError, match="litert-torch wrote no LiteRT file"):
        litert._describe(converted, tmp_path / "out.tflite", make_spec())


# With the real converter


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return gd.export(
        GHOST,
        tmp_path_factory.mktemp("litert") / "out",
        formats=("onnx", "litert"),
        images=val_images()[:4],
    )


@needs_assets
@needs_converter
def test_it_computes_what_the_checkpoint_does(bundle: Bundle) -> None:
    assert bundle.evidence.parity is not None
    (row,) = (row for row in bundle.evidence.parity.rows if row.runtime == "litert")
    assert row.status == "passed"
    assert row.detections is not None
    assert row.detections.matched == row.detections.total > 0
    assert row.detections.box_px.max < 1e-3
    assert row.detections.score.max < 1e-5


@needs_assets
@needs_converter
def test_the_file_describes_itself(bundle: Bundle) -> None:
    artifact = bundle.artifact("litert", "fp32")
    path = bundle.verified_path(artifact)
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {ModelSpec.Json, "metadata.json"}
        assert ModelSpec.from_json(archive.read(ModelSpec.Json)) == bundle.spec
    assert set(artifact.tools) >= {"litert-torch", "litert-converter"}
    with gd.load(path) as alone, gd.load(bundle.path, runtime="litert") as detector:
        found, expected = (each(val_images()[0]) for each in (alone, detector))
    assert len(found) > 0
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)


@needs_assets
@needs_converter
@pytest.mark.parametrize(
    "checkpoint", [GHOSTNET, SHARED / "forks" / "ghostv2-nopool.pt"], ids=lambda p: p.stem
)
def test_other_families(checkpoint: Path, tmp_path: Path) -> None:
    bundle = gd.export(checkpoint, tmp_path / "out", formats=("litert",), images=val_images()[:4])
    assert bundle.evidence.parity is not None
    assert {row.status for row in bundle.evidence.parity.rows} == {"passed"}


@needs_assets
@needs_converter
def test_pixels_in(tmp_path: Path) -> None:
    bundle = gd.export(
        GHOST,
        tmp_path / "out",
        formats=("litert",),
        imgsz=(320, 416),
        images=val_images()[:2],
        embed_preprocess=True,
    )
    assert bundle.evidence.parity is not None
    assert bundle.evidence.parity.passed
