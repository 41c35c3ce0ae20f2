"""Statistics in a file: what comes back, what is refused, and what a broken disk leaves."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ghost_deploy.calib.ranges.histogram import TensorStatistics
from ghost_deploy.calib.ranges.statistics_file import Statistics, StatisticsKey
from ghost_deploy.core.errors import ExportError, InputError
from tests.support.small_graphs import same_statistics

KEY = StatisticsKey(model="m", images="i", preprocessing="p", tensors="t", collector=1)


def made() -> Statistics:
    rng = np.random.default_rng(0)
    return Statistics(
        KEY,
        {
            "zeros": TensorStatistics.of(np.zeros(7, np.float32)),
            "a/b:0 é": TensorStatistics.of(rng.normal(0, 3, 5000).astype(np.float32)),
            "one": TensorStatistics.of(np.array([1e-30], np.float32)),
        },
        images=12,
    )


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.statistics"
    before = made()
    before.save(path)
    after = Statistics.load(path, expected=KEY)
    assert list(after.tensors) == list(before.tensors)
    assert all(
        same_statistics(after.tensors[name], before.tensors[name]) for name in before.tensors
    )
    assert (after.key, after.images, len(after.tensors)) == (KEY, 12, 3)
    assert "zeros" in after.tensors
    assert "none" not in after.tensors
    assert path.stat().st_mode & 0o777 == 0o644


def test_no_tensor_at_all(tmp_path: Path) -> None:
    Statistics(KEY, {}, 0).save(tmp_path / "x")
    assert Statistics.load(tmp_path / "x").tensors == {}


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Statistics.load(tmp_path / "x")
    with pytest.raises(InputError, match="directory"):
        Statistics.load(tmp_path)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("model", "another model"),
        ("images", "other images"),
        ("preprocessing", "another preprocessing"),
        ("tensors", "other tensors"),
        ("collector", "another version of the collector"),
    ],
)
def test_what_was_made_for_something_else_is_refused(part: str, words: str, tmp_path: Path) -> None:
    made().save(tmp_path / "x")
    other = msgspec.structs.replace(KEY, **{part: 2 if part == "collector" else "other"})
    assert other.digest != KEY.digest
    with pytest.raises(InputError) as caught:
        Statistics.load(tmp_path / "x", expected=other)
    assert caught.value.got == words


@pytest.mark.parametrize("content", [b"", b"x", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(100)])
def test_another_kind_of_file(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        Statistics.load(tmp_path / "x")


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_is_seen(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "x"
    made().save(path)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[place] ^= data.draw(st.integers(1, 255))
    else:
        del content[place:]
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        Statistics.load(path)


def test_a_full_disk_leaves_nothing_and_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x"
    made().save(path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match="No space left"):
        Statistics(KEY, {}, 1).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError, match="cannot write"):
        made().save(tmp_path / "file" / "x")
