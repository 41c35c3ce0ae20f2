"""The timing cache: reused where it fits, ignored safely where it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from ghost_deploy.runtimes.tensorrt.fingerprint import this_machine
from ghost_deploy.runtimes.tensorrt.timing_cache import cache_path
from tests.support.engine_builds import ORIN, build, make_settings


def test_the_key_is_the_machine_and_the_place_is_beside(tmp_path: Path) -> None:
    path = cache_path(tmp_path / "best", this_machine("10.3.0", ORIN))
    assert path.parent == tmp_path
    for part in ("best.", "trt10.3.0", "sm8.7", "Orin", ".timing"):
        assert part in path.name
    assert cache_path(tmp_path / "best", this_machine("10.3.0", replace(ORIN, cuda="13.0"))) == path
    other = cache_path(tmp_path / "best", this_machine("10.7.0", ORIN))
    assert other != path


def test_a_cache_is_written_and_used_again(tmp_path: Path, fake_trt: ModuleType) -> None:
    control, path = fake_trt.__fake__, tmp_path / "x.timing"
    assert build(make_settings(timing_cache=path)).timing_cache == "new"
    assert build(make_settings(timing_cache=path)).timing_cache == "reused"
    made = control.called("IBuilderConfig.create_timing_cache")
    assert made == [(b"",), (b"timings",)]
    assert all(not ignore for _, ignore in control.called("IBuilderConfig.set_timing_cache"))
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_a_damaged_cache_is_ignored(
    damage: bytes | None, tmp_path: Path, fake_trt: ModuleType
) -> None:
    path = tmp_path / "x.timing"
    build(make_settings(timing_cache=path))
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    assert build(make_settings(timing_cache=path)).timing_cache == "ignored"
    assert fake_trt.__fake__.called("IBuilderConfig.create_timing_cache")[-1] == (b"",)
    assert build(make_settings(timing_cache=path)).timing_cache == "reused"


def test_a_foreign_cache_is_ignored(tmp_path: Path, fake_trt: ModuleType) -> None:
    path = tmp_path / "x.timing"
    build(make_settings(timing_cache=path))
    fake_trt.__fake__.foreign_timing_cache = True
    assert build(make_settings(timing_cache=path)).timing_cache == "ignored"


def test_a_disk_that_refuses_does_not_fail_the_build(tmp_path: Path, fake_trt: ModuleType) -> None:
    (tmp_path / "file").touch()
    built = build(make_settings(timing_cache=tmp_path / "file" / "x.timing"))
    assert built.timing_cache == "not stored"
