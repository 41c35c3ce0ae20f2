"""What the kills look for is seen when it is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from ghost_deploy.core.bundle import Bundle, BundleWriter
from tests.core.test_bundle import write
from tools import faults, faults_left
from tools.faults_left import bundle_faults, carry_on, litter, outlived, result_faults


@pytest.fixture
def place(tmp_path: Path) -> Any:
    """A work place with a finished bundle, without commands."""
    write(tmp_path / "finished")
    for name in ("tmp", "cache", "round"):
        (tmp_path / name).mkdir()
    return SimpleNamespace(
        root=tmp_path,
        finished=tmp_path / "finished",
        temporary=tmp_path / "tmp",
        new={"build": frozenset({"onnx-fp32", "tensorrt-fp16"})},
    )


def test_the_old_bundle_and_the_new_one_are_right(place: Any) -> None:
    target = place.root / "round" / "bundle"
    write(target)
    assert bundle_faults(place, "build", target, fresh=False) == []
    old = Bundle.read(target)
    with BundleWriter(target, overwrite=True) as writer:
        writer.adopt(old)
        path = writer.folder / "e"
        path.write_bytes(b"x")
        writer.add(format="tensorrt", precision="fp16", path=path, parent="", tools={})
        writer.draft(old.spec, old.document.source, "test")
        writer.finish()
    assert bundle_faults(place, "build", target, fresh=False) == []


def test_a_lost_a_mixed_and_a_damaged_bundle_are_seen(place: Any) -> None:
    target = place.root / "round" / "bundle"
    assert bundle_faults(place, "build", target, fresh=True) == []
    assert bundle_faults(place, "build", target, fresh=False) == ["the old bundle is gone"]
    bundle = write(target)
    with BundleWriter(target, overwrite=True) as writer:
        writer.draft(bundle.spec, bundle.document.source, "test")
        writer.finish()
    (found,) = bundle_faults(place, "build", target, fresh=False)
    assert found == "neither the old bundle nor the new one: []"
    write(target, overwrite=True)
    (target / "model.fp32.onnx").write_bytes(b"halfway")
    (target / ".x.ghost-deploy-abcdefgh").write_bytes(b"")
    left, damaged = bundle_faults(place, "build", target, fresh=False)
    assert "were left" in left
    assert "is damaged" in damaged


def test_damaged_results_are_seen(tmp_path: Path) -> None:
    for name in ("videos", "snapshots"):
        (tmp_path / name).mkdir()
    (tmp_path / "lines.jsonl").write_bytes(b'{"a": 1}\n{"b": ')
    done, data = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))
    assert done
    (tmp_path / "snapshots" / "a.jpg").write_bytes(data.tobytes())
    (tmp_path / "videos" / "a.mp4").write_bytes(b"")  # begun, and nothing written yet
    assert result_faults(tmp_path) == []
    (tmp_path / "lines.jsonl").write_bytes(b'{"a": \n{"b": 1}\n')
    (tmp_path / "snapshots" / "b.jpg").write_bytes(data.tobytes()[:40])
    (tmp_path / "videos" / "b.mp4").write_bytes(bytes(1 << 18))
    assert len(result_faults(tmp_path)) == 3


def test_litter_is_seen(place: Any) -> None:
    assert list(litter(place)) == []
    (place.root / "round" / ".b.ghost-deploy-abcdefgh").mkdir()
    (place.root / "round" / ".b.ghost-deploy-abcdefgh" / ".c.ghost-deploy-abcdefgh").mkdir()
    (place.temporary / "x").mkdir()
    (place.temporary / "torchinductor_root").mkdir()
    assert list(litter(place)) == ["round/.b.ghost-deploy-abcdefgh", "tmp/x"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_lives_on_is_seen_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_left, "_ENDS_WITHIN_S", 0.2)
    script = "import subprocess; subprocess.Popen(['sleep', '60'])"
    child = subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    child.wait()
    assert outlived(child.pid) == ["process 'sleep' lives on"]
    assert outlived(child.pid) == []


def test_what_the_next_command_leaves_is_seen(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = place.root / "round" / "bundle"
    (place.root / "round" / ".bundle.ghost-deploy-abcdefgh").mkdir()
    monkeypatch.setattr(faults_left, "remove_leftovers", lambda _folder: None)
    (found,) = carry_on(target)
    assert "after the next one came" in found
    monkeypatch.undo()
    assert carry_on(target) == []


@pytest.mark.slow
def test_a_few_kills(capsys: pytest.CaptureFixture[str]) -> None:
    assert faults.main(["--kills", "4", "--commands", "build,stream"]) == 0, capsys.readouterr().out
