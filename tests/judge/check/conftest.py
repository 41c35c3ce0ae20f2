"""One real bundle for the tests of checks; each test gets a copy and a cache of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ghost_deploy.core.bundle import Bundle
from tests.support.checked_bundle import checked_bundle
from tests.support.exports import shared_folder


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = shared_folder("checked", tmp_path_factory, checked_bundle)
    return Bundle.read(folder / "bundle")


@pytest.fixture
def bundle(original: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Bundle.read(shutil.copytree(original.path, tmp_path / "bundle"))
