"""Recorded statistics on the command line: a wrong reading is refused, and the bundle says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.models import registry
from ghost_deploy.models.ghost import GhostConv
from tests.support.assets import SHARED, needs_assets, val_images

PAIR = SHARED / "forks" / "pair1-b.pt"

pytestmark = needs_assets


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with eight validation images."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in val_images()[:8]:
        (folder / path.name).symlink_to(path)
    return folder


def test_inspect_shows_the_reading_and_the_verdict(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(PAIR), "--images", str(images)]) == 0
    out = capsys.readouterr().out
    assert "agrees" in out
    assert "the cheap half first" in out
    assert main(["inspect", str(PAIR), "--images", str(images), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["statistics"]["verdict"] == "agrees"
    assert len(document["statistics"]["norms"]) == 91


def test_inspect_without_images_says_that_nothing_was_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["inspect", str(PAIR)]) == 0
    assert "not checked" in capsys.readouterr().out


def test_a_wrong_reading_fails_like_any_gate(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.RIVALS, GhostConv, ())
    out = tmp_path / "bundle"
    with pytest.raises(gd.GateError, match="another arithmetic") as caught:
        gd.export(PAIR, out, ("onnx",), ("fp32",), images=images)
    assert caught.value.exit_code == 1
    bundle = caught.value.bundle
    assert bundle is not None
    report = bundle.evidence.statistics
    assert report is not None
    assert report.verdict == "disagrees"
    assert report.departs in str(caught.value)
    # Parity compares our graphs with our network, and sees nothing.
    assert bundle.evidence.parity is not None
    assert bundle.evidence.parity.passed
    with pytest.raises(gd.GateError, match="not the trained one"):
        gd.load(out, runtime="ort")
    with pytest.raises(gd.GateError, match="another arithmetic"):
        gd.parity(PAIR, out, images)


def test_a_right_reading_is_stored_and_shown(images: Path, tmp_path: Path) -> None:
    bundle = gd.export(PAIR, tmp_path / "bundle", ("onnx",), ("fp32",), images=images)
    report = bundle.evidence.statistics
    assert report is not None
    assert report.verdict == "agrees"
    assert "GhostConvExchanged" not in report.sentence
    gd.load(bundle, runtime="ort", check=False).close()
    page = tmp_path / "report.html"
    assert main(["report", str(bundle.path), "-o", str(page)]) == 0
    text = page.read_text()
    assert "Recorded statistics of the checkpoint" in text
    assert "Deviation by layer" in text
