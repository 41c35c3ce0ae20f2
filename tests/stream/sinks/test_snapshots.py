from __future__ import annotations

import re
from pathlib import Path

import cv2
import pytest

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.sinks.retrying import RetryingSink
from ghost_deploy.stream.sinks.snapshots import SnapshotSink
from tests.support.stream_results import FOUND, NOTHING, make_result


def test_nothing_detected_leaves_an_empty_folder(tmp_path: Path) -> None:
    sink = SnapshotSink(tmp_path / "new")
    sink.write(make_result(found=NOTHING))
    sink.close()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        SnapshotSink(tmp_path / "file")


def test_one_image_of_each_source_in_an_interval(tmp_path: Path) -> None:
    sink = SnapshotSink(tmp_path, every_s=1.0)
    for at_ms in (1000, 1100, 1900, 2000, 2100):
        sink.write(make_result("a/b", at_ms=at_ms))
        sink.write(make_result("cam2", at_ms=at_ms))
    sink.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [re.sub(r"\d{8}T\d{6}\.\d{3}Z", "TIME", name) for name in names] == [
        *["a_b-TIME.jpg"] * 2,
        *["cam2-TIME.jpg"] * 2,
    ]
    image = cv2.imread(str(tmp_path / names[0]))
    assert image is not None
    assert image.shape == (48, 64, 3)
    assert image.std() > 5  # the boxes are drawn


def test_only_snapshots_count_as_written(tmp_path: Path) -> None:
    guard = RetryingSink(SnapshotSink(tmp_path, every_s=1.0))
    for at_ms, found in ((1000, FOUND), (1100, FOUND), (2500, NOTHING), (2600, FOUND)):
        guard.write(make_result(at_ms=at_ms, found=found))
    guard.close()
    assert (guard.stats().sent, guard.stats().dropped) == (2, 0)
    assert len(list(tmp_path.iterdir())) == 2
