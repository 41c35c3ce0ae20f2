"""A bundle that version 0.1 wrote, before evidence was typed: it opens as it always did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.judge.parity.self_check import self_check
from ghost_deploy.runtimes.base import RuntimeOptions

STORED = Path(__file__).parents[1] / "data" / "bundle-0.1"


@pytest.fixture
def old(tmp_path: Path) -> Bundle:
    """The stored bundle; files of its int8 artifacts are left out of the repository."""
    folder = tmp_path / "bundle"
    shutil.copytree(STORED, folder)
    for name in ("ort-x86.onnx", "tensorrt.onnx", "tensorrt-fp16.onnx", "trtcache"):
        (folder / f"model.int8.{name}").touch()
    return Bundle.read(folder)


def test_every_kind_of_evidence_is_typed(old: Bundle) -> None:
    evidence = old.evidence
    assert evidence.parity is not None
    assert evidence.parity.passed
    assert evidence.accuracy is not None
    assert [row.status for row in evidence.accuracy.rows] == ["passed"]
    assert evidence.latency is not None
    assert {row.config.runtime for row in evidence.latency.rows} == {"ort"}
    assert evidence.int8 is not None
    assert {row.form for row in evidence.int8.rows} == {"ort-x86", "tensorrt", "tensorrt-fp16"}
    assert evidence.build is not None
    assert evidence.build.engines["tensorrt-fp16"].fingerprint.gpu == "Orin"
    assert evidence.reference is not None
    assert evidence.reference.file == "reference.npz"


def assert_kept(before: Any, after: Any, place: str = "") -> None:
    """All values of `before` are in `after`, which may have more keys: fields with defaults."""
    if isinstance(before, dict):
        assert before.keys() <= after.keys(), place
        for key, value in before.items():
            assert_kept(value, after[key], f"{place}/{key}")
    elif isinstance(before, list):
        assert len(before) == len(after), place
        for index, pair in enumerate(zip(before, after, strict=True)):
            assert_kept(*pair, f"{place}/{index}")
    else:
        assert before == after, place


def test_saving_keeps_all_values_and_adds_later_fields_once(old: Bundle) -> None:
    document = old.path / "bundle.json"
    before = json.loads(document.read_bytes())
    old.save()
    once = document.read_bytes()
    after = json.loads(once)
    assert_kept(before, after)
    Bundle.read(old.path).save()
    assert document.read_bytes() == once
    with pytest.raises(AssertionError, match="spec/name"):
        assert_kept(before, {**after, "spec": {**after["spec"], "name": "another"}})


def test_it_computes_what_it_did(old: Bundle) -> None:
    """The fp32 artifact agrees with the images and outputs that the bundle carries."""
    row = self_check(old, old.artifact("onnx", "fp32"), "ort", RuntimeOptions())
    assert row is not None
    assert (row.status, row.reasons) == ("passed", ())
