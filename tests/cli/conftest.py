"""One real bundle for all tests of the command, and an empty cache for compiled models."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ghost_deploy.cli.main import main
from tests.support.assets import GHOST, val_images


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two BCCD images."""
    folder = tmp_path_factory.mktemp("photos")
    for path in val_images()[:2]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def bundle(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `export` makes by default."""
    out = tmp_path_factory.mktemp("out") / "ghost"
    assert main(["export", str(GHOST), "-o", str(out), "--images", str(photos)]) == 0
    return out
