"""Images to measure on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.images import write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small image files."""
    return write_images(tmp_path_factory.mktemp("images"), 3)
