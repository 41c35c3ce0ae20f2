"""No command replaces a file that is there unless it is told to."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

import ghost_deploy as gd
from ghost_deploy.cli.main import main
from ghost_deploy.core.evidence.build import BuildRecords
from ghost_deploy.core.files import refuse_existing
from tests.support.bundles import write_placeholder_bundle

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "file"


def refused_then_replaced(words: list[str], place: Path, capsys: Capture) -> None:
    place.write_bytes(b"kept")
    assert main(words) == 2
    assert f"{place} exists already" in capsys.readouterr().err
    assert place.read_bytes() == b"kept"
    assert main([*words, "--overwrite"]) == 0
    assert place.read_bytes() != b"kept"


def test_a_skeleton(place: Path, capsys: Capture) -> None:
    words = ["inspect", "zoo:yolov8n-ghost", "--skeleton", str(place)]
    refused_then_replaced(words, place, capsys)


@pytest.mark.parametrize("flag", ["-o", "--markdown", "--json"])
def test_each_file_of_a_report(flag: str, place: Path, tmp_path: Path, capsys: Capture) -> None:
    bundle = write_placeholder_bundle(tmp_path / "bundle").with_evidence(BuildRecords())
    bundle.save()
    words = ["report", str(bundle.path), flag, str(place)]
    words += [] if flag == "-o" else ["-o", str(tmp_path / "page.html")]
    refused_then_replaced(words, place, capsys)


def test_a_link_that_leads_nowhere_is_there(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "absent")
    with pytest.raises(gd.UsageError, match="exists already"):
        refuse_existing(link, overwrite=False)
    refuse_existing(tmp_path / "absent", overwrite=False)
    refuse_existing(link, overwrite=True)


@pytest.mark.parametrize("command", ["calibrate", "build"])
def test_artifacts_of_a_bundle(command: str, tmp_path: Path) -> None:
    bundle = write_placeholder_bundle(tmp_path / "bundle")
    before = (bundle.path / "bundle.json").read_bytes()
    verb = gd.build if command == "build" else partial(gd.calibrate, calib="no images")
    with pytest.raises(gd.UsageError, match="already") as caught:
        verb(bundle)
    assert f"ghost-deploy {command}" in caught.value.fix
    assert "--overwrite" in caught.value.fix
    assert (bundle.path / "bundle.json").read_bytes() == before
