"""Images to measure on."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small image files."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        assert cv2.imwrite(str(path), np.full((48, 64, 3), 40 * index, np.uint8))
    return paths
