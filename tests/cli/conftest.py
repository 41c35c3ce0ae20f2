"""Two images and one real bundle for all tests of the commands."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghost_deploy.core.bundle.manifest import DOCUMENT
from tests.support.assets import val_images
from tests.support.exports import shared_proved_bundle


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two BCCD images."""
    folder = tmp_path_factory.mktemp("images")
    for path in val_images()[:2]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What `export` makes by default; fails the test that changes it."""
    folder = shared_proved_bundle(tmp_path_factory)
    before = (folder / DOCUMENT).read_bytes()
    yield folder
    assert (folder / DOCUMENT).read_bytes() == before, "this test needs `bundle_copy`"


@pytest.fixture
def bundle_copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of `bundle` that the test may change."""
    return shutil.copytree(bundle, tmp_path / "bundle")
