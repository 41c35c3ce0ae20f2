"""`infer --track`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ghost_deploy.cli.main import main
from tests.cli.test_live import Capture, asked, lines, video  # noqa: F401

pytestmark = pytest.mark.usefixtures("asked")


def test_off_by_default(video: Path, capsys: Capture) -> None:  # noqa: F811
    assert main(["infer", "b", str(video), "--jsonl", "-"]) == 0
    rows: list[dict[str, Any]] = lines(capsys.readouterr().out)
    assert not any("track_id" in found for row in rows for found in row["detections"])


def test_an_object_keeps_its_id(video: Path, tmp_path: Path, capsys: Capture) -> None:  # noqa: F811
    words = ["--jsonl", "-", "-o", str(tmp_path), "--track"]
    assert main(["infer", "b", str(video), *words]) == 0
    rows = lines(capsys.readouterr().out)
    ids = [[found["track_id"] for found in row["detections"]] for row in rows]
    assert ids == [[None, None]] + [[1, 2]] * 11
    assert (tmp_path / "clip.mp4").is_file()


def test_images_have_no_tracks(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "a.png").touch()
    assert main(["infer", "b", str(tmp_path / "a.png"), "--track"]) == 2
    assert "--track is for cameras" in capsys.readouterr().err
