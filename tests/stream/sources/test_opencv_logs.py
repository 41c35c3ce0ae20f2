"""OpenCV is silenced in whatever version: it prints addresses with their passwords."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from ghost_deploy.stream.sources import opencv
from ghost_deploy.stream.sources.uri import parse_source
from ghost_deploy.stream.sources.video_cv import CvVideoReader


@pytest.mark.parametrize("moved", [False, True], ids=["until 4.12", "since 4.13"])
def test_the_level_is_set_where_the_version_has_it(
    moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[int] = []
    monkeypatch.delattr(cv2, "setLogLevel", raising=False)
    logging = SimpleNamespace(setLogLevel=levels.append)
    if moved:
        monkeypatch.setattr(cv2.utils, "logging", logging, raising=False)
    else:
        monkeypatch.delattr(cv2.utils, "logging", raising=False)
        monkeypatch.setattr(cv2, "setLogLevel", levels.append, raising=False)
    opencv._silence_vendors()
    assert levels == [0]


def test_a_video_is_read_by_this_version(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for number in range(5):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    reader = CvVideoReader(parse_source(str(path)), str(path))
    means = []
    while reader.grab() is not None:
        means.append(float(reader.load()().mean()))
    reader.close()
    assert means == pytest.approx([0, 40, 80, 120, 160], abs=4)
