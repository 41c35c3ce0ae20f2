"""Images to measure on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.images import solid_image, write_image


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small image files of the values 0, 40 and 80."""
    folder = tmp_path_factory.mktemp("images")
    return [write_image(folder / f"{v}.png", solid_image((48, 64), v)) for v in (0, 40, 80)]
