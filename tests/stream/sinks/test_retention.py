from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.sinks.jsonl import JsonlSink
from ghost_deploy.stream.sinks.retention import FileStore, dated_path
from ghost_deploy.stream.sinks.snapshots import SnapshotSink
from tests.support.stream_results import make_result

GIB = 1 << 30


def put(folder: Path, name: str, size: int, age_s: int = 0) -> Path:
    path = folder / name
    path.write_bytes(b"x" * size)
    os.utime(path, (1_000_000 - age_s, 1_000_000 - age_s))
    return path


def test_an_empty_folder(tmp_path: Path) -> None:
    store = FileStore(tmp_path, ".jpg", 0)
    store.trim()
    store.check_free()
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_go_first_and_nothing_of_others(tmp_path: Path) -> None:
    name = "cam-20261122T0945{:02}.000Z.jpg"
    for i in range(5):
        put(tmp_path, name.format(i), 100, age_s=100 - i)
    others = [
        put(tmp_path, "holiday.jpg", 1000),
        put(tmp_path, "cam-20261122T094500.jpg", 1000),
        put(tmp_path, "cam-20261122T094500.000Z.mp4", 1000),
        put(tmp_path, "xcam-20261122T094500.000Z.jpg.bak", 1000),
    ]
    (tmp_path / "dir-20261122T094500.000Z.jpg").mkdir()
    store = FileStore(tmp_path, ".jpg", 350)
    store.trim()
    left = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert left == sorted([*(name.format(i) for i in (2, 3, 4)), *(p.name for p in others)])
    added = put(tmp_path, name.format(9), 100)
    store.add(added)
    (tmp_path / name.format(2)).unlink()  # somebody else was faster
    store.trim(besides=100)
    assert [i for i in range(10) if (tmp_path / name.format(i)).exists()] == [4, 9]
    assert all(path.exists() for path in others)


def test_a_stem_keeps_neighbours_apart(tmp_path: Path) -> None:
    mine = put(tmp_path, "out-20261122T094500.000Z.jsonl", 10)
    theirs = put(tmp_path, "outer-20261122T094500.000Z.jsonl", 10)
    FileStore(tmp_path, ".jsonl", 0, stem="out").trim()
    assert (mine.exists(), theirs.exists()) == (False, True)


def test_without_a_budget_all_is_kept(tmp_path: Path) -> None:
    path = put(tmp_path, "cam-20261122T094500.000Z.jpg", 10)
    store = FileStore(tmp_path, ".jpg")
    store.add(path)
    store.trim(besides=GIB)
    assert path.exists()


@pytest.mark.parametrize(
    ("free", "whole", "full"),
    [(GIB, 100 * GIB, False), (400 << 20, 100 * GIB, True), (100 << 20, GIB, False), (0, 9, True)],
)
def test_a_disk_that_is_nearly_full(
    free: int, whole: int, full: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SimpleNamespace(f_bavail=free, f_blocks=whole, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    store = FileStore(tmp_path, ".jpg")
    for _ in range(2):
        if full:
            with pytest.raises(InputError, match="nearly full"):
                store.check_free()
        else:
            store.check_free()


def test_snapshots_within_a_budget(tmp_path: Path) -> None:
    sink = SnapshotSink(tmp_path, every_s=0, most_bytes=5000)
    sizes = []
    for i in range(30):
        sink.write(make_result(index=i, at_ms=1000 * i))
        sizes.append(sum(path.stat().st_size for path in tmp_path.iterdir()))
    assert max(sizes) <= 5000
    assert len(list(tmp_path.iterdir())) >= 2


def test_lines_within_a_budget(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    (tmp_path / "other.jsonl").write_bytes(b"x" * 9000)
    for _ in range(2):
        sink = JsonlSink(path, most_bytes=8000)
        for i in range(60):
            sink.write(make_result(index=i))
            ours = [each for each in tmp_path.iterdir() if each.name.startswith("out")]
            assert sum(each.stat().st_size for each in ours) <= 8000 + 1000
        sink.close()
    assert len(ours) >= 3
    text = "".join(each.read_text() for each in ours)
    assert all(line.startswith("{") and line.endswith("}") for line in text.splitlines())
    assert (tmp_path / "other.jsonl").stat().st_size == 9000


def test_names_by_time_never_meet(tmp_path: Path) -> None:
    moment = datetime(2026, 11, 22, 9, 45, 0, 123_900, tzinfo=timezone.utc)
    for stamp in ("20261122T094500.123Z", "20261122T094500.124Z"):
        path = dated_path(tmp_path, "cam", moment, ".jpg")
        assert path.name == f"cam-{stamp}.jpg"
        path.touch()
