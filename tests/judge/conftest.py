"""Real bundles, exported once for all tests."""

from __future__ import annotations

import pytest

from tests.support.assets import GHOST, GHOSTNET
from tests.support.exports import ExportedCheckpoint, shared_float_bundle


@pytest.fixture(scope="session")
def ghost(tmp_path_factory: pytest.TempPathFactory) -> ExportedCheckpoint:
    """The stock checkpoint; not to be changed by a test."""
    return shared_float_bundle(GHOST, tmp_path_factory)


@pytest.fixture(scope="session")
def ghostnet(tmp_path_factory: pytest.TempPathFactory) -> ExportedCheckpoint:
    """The checkpoint with GhostNet's blocks; not to be changed by a test."""
    return shared_float_bundle(GHOSTNET, tmp_path_factory)
