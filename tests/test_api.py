"""The Python interface on pretended and on real models."""

from __future__ import annotations

import copy
import importlib
import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ghost_deploy as gd
from ghost_deploy.core.bundle import Artifact
from ghost_deploy.core.errors import (
    BundleError,
    CheckpointError,
    ImageError,
    MissingExtraError,
    SpecError,
    UsageError,
)
from ghost_deploy.core.evidence.parity import ParityReport
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.core.spec import ModelSpec, Thresholds
from ghost_deploy.judge.check.check_child import CheckReply
from ghost_deploy.runtimes.base import Runtime, RuntimeOptions
from ghost_deploy.runtimes.fake import FakeRuntime
from ghost_deploy.runtimes.run_plan import PlannedRun
from tests.support.assets import GHOST, needs_assets, val_images
from tests.support.in_memory_bundles import bundle_in_memory
from tests.support.model_specs import make_spec
from tests.support.parity_reports import parity_row, small_parity_report
from tests.support.stored_evidence import evidence_of, with_plain_evidence

SPEC = make_spec((64, 64))
ARTIFACT = Artifact(
    format="onnx", precision="fp32", path="model.onnx", files={"model.onnx": "a" * 64}, parent=""
)


def report(**changes: Any) -> ParityReport:
    """A report with one row that failed, unless `changes` of that row say otherwise."""
    reasons = ("box difference 3 px > 0.05 px",)
    return small_parity_report(parity_row(**{"reasons": reasons, **changes}))


def bundle(*evidence: ParityReport) -> gd.Bundle:
    return bundle_in_memory(ARTIFACT, evidence=evidence, spec=SPEC)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, RuntimeOptions]]:
    """Runtimes that need no file; (name, options) of those that were opened."""
    calls: list[tuple[str, RuntimeOptions]] = []

    def open_planned(_: gd.Bundle, run: PlannedRun, options: RuntimeOptions) -> Runtime:
        calls.append((run.row.name, options))
        return FakeRuntime.for_spec(SPEC, gd.Detections.empty())

    monkeypatch.setattr(
        importlib.import_module("ghost_deploy.api.load"), "open_planned", open_planned
    )
    monkeypatch.setattr(
        "ghost_deploy.judge.check.ask_child.ask_child", lambda *_, **__: CheckReply()
    )
    return calls


def test_the_signatures_that_scripts_rely_on() -> None:
    exported = inspect.signature(gd.export).parameters
    positional = ["checkpoint", "out", "formats", "precisions", "imgsz", "images", "calib"]
    assert list(exported)[:7] == positional
    assert exported["formats"].default == ("onnx", "openvino")
    assert exported["precisions"].default == ("fp32",)
    assert list(inspect.signature(gd.load).parameters)[:3] == ["model", "runtime", "precision"]


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no bundle or model"):
        gd.load(tmp_path / "absent")
    with pytest.raises(BundleError, match="is not a bundle"):
        gd.load(tmp_path)
    with pytest.raises(CheckpointError, match=r"absent\.pt"):
        gd.inspect(tmp_path / "absent.pt")


def test_a_file_that_no_runtime_opens(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError):
        gd.load(tmp_path / "notes.txt")


def test_thresholds_replace_those_of_the_model(opened: list[Any]) -> None:
    detector = gd.load(bundle(), conf=0.5, max_det=7, agnostic=True)
    assert detector.thresholds == Thresholds(conf=0.5, iou=0.7, max_det=7, agnostic=True)
    with pytest.raises(SpecError, match="conf"):
        gd.load(bundle(), conf=1.5)


def test_a_failed_parity_is_refused(opened: list[Any]) -> None:
    with pytest.raises(GateError, match="3 px") as caught:
        gd.load(bundle(report()), "ort")
    assert "allow_failed_parity" in caught.value.fix
    assert opened == []
    gd.load(bundle(report()), "ort", allow_failed_parity=True)
    assert len(opened) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"status": "passed"},
        {"status": "skipped"},
        {"runtime": "another"},
        {"precision": "bf16"},
        {"artifact": "openvino-fp32"},
        {"sha256": "c" * 64},
    ],
    ids=str,
)
def test_other_verdicts_do_not_concern_it(row: dict[str, Any], opened: list[Any]) -> None:
    gd.load(bundle(report(**row)), "ort")
    assert len(opened) == 1


def test_evidence_from_another_version_is_an_error(opened: list[Any]) -> None:
    made = with_plain_evidence(bundle(), {"parity": {"schema": 99}})
    with pytest.raises(SpecError, match="parity evidence"):
        gd.load(made, "ort")


def test_the_cache_is_the_users_and_belongs_to_the_processor(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gd.load(bundle(), "ort", check=False)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    gd.load(bundle(), "ort", check=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    gd.load(bundle(), "ort", check=False)
    folders = [options.cache_dir for _, options in opened]
    assert folders[0].parent == tmp_path / "ghost-deploy"
    assert folders[1].parent == tmp_path / ".cache" / "ghost-deploy"
    assert folders[0].name == folders[1].name
    assert folders[2] is None
    assert list(tmp_path.iterdir()) == []


def test_torch_is_asked_for_where_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for use in (
        lambda: gd.inspect("zoo:yolov8n-ghost"),
        lambda: gd.export(tmp_path / "best.pt", tmp_path / "out"),
        lambda: gd.parity(tmp_path / "best.pt", bundle()),
    ):
        with pytest.raises(MissingExtraError, match=r"\[export\]"):
            use()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{"calib": "images"}, {"precisions": ("int8",)}], ids=str)
def test_int8_and_its_images_belong_together(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="belong together"):
        gd.export("best.pt", tmp_path / "out", **options)


@needs_assets
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"formats": ("onyx",)}, UsageError),
        ({"precisions": ("fp8",)}, UsageError),
        ({"formats": ("tensorrt",)}, MissingExtraError),
        ({"precisions": ("int8",)}, UsageError),
        ({"precisions": ("int8",), "calib": "absent-folder"}, ImageError),
        ({"imgsz": 100}, UsageError),
        ({"imgsz": (64, 64, 64)}, UsageError),
        ({"imgsz": 64.0}, UsageError),
        ({"formats": "onnx"}, UsageError),
        ({"images": "absent-folder"}, ImageError),
    ],
    ids=str,
)
def test_a_wrong_export_leaves_nothing(
    options: dict[str, Any], error: type[Exception], tmp_path: Path
) -> None:
    with pytest.raises(error):
        gd.export(GHOST, tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


@needs_assets
def test_export_load_and_detect(tmp_path: Path) -> None:
    said: list[str] = []
    images = val_images()[:2]
    made = gd.export(
        GHOST,
        tmp_path / "out",
        formats=("onnx",),
        imgsz=(320, 416),
        images=images,
        progress=lambda what, done, total: said.append(what),
    )
    assert said[:3] == ["loading", "comparing statistics", "ONNX fp32"]
    assert evidence_of(made)["parity"]["passed"] is True
    assert made.spec.input.size_hw == (320, 416)
    with gd.load(made) as proved, gd.load(made.path / "model.fp32.onnx") as bare:
        assert proved.runtime.info.precision == "fp32"
        assert proved.spec == bare.spec
        found = proved(images[0])
        assert len(found) > 0
        np.testing.assert_array_equal(found.xyxy, bare(images[0]).xyxy)
    assert isinstance(gd.inspect(made.path), gd.Bundle)


@needs_assets
def test_a_failed_gate_writes_the_bundle_and_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network whose export is wrong by 2 % of the head's weights."""
    from ghost_deploy.export import trace_onnx as module

    right = module.onnx_from_net

    def wrong(net: Any, spec: ModelSpec, precision: str, *rest: Any) -> Any:
        damaged = copy.deepcopy(net)
        for weight in damaged.head.parameters():
            weight.mul_(1.02)
        return right(damaged, spec, precision, *rest)

    monkeypatch.setattr(module, "onnx_from_net", wrong)
    images = val_images()[:1]
    with pytest.raises(GateError, match="not proved") as caught:
        gd.export(GHOST, tmp_path / "out", formats=("onnx",), imgsz=320, images=images)
    assert "onnx-fp32 on ort" in str(caught.value.got)
    written = gd.Bundle.read(tmp_path / "out", verify=True)
    assert evidence_of(written)["parity"]["passed"] is False
    assert caught.value.bundle is not None
    assert caught.value.bundle.document == written.document
    assert caught.value.report == written.evidence.parity
    with pytest.raises(GateError, match="failed its comparison"):
        gd.load(written)


@needs_assets
def test_one2one_of_a_head_without_such_a_branch_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no one2one branch"):
        gd.export(GHOST, tmp_path / "out", one2one=True)
    assert list(tmp_path.iterdir()) == []
