"""Checkpoints of made-up forks that the tests of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fork_folders import pickle_checkpoint, write_fork


@pytest.fixture(scope="session")
def fork_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fork that no definition of ours fits."""
    return write_fork(tmp_path_factory.mktemp("fork"))


@pytest.fixture(scope="session")
def fork_checkpoint(fork_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of that fork."""
    return pickle_checkpoint(fork_folder, tmp_path_factory.mktemp("checkpoint") / "best.pt")
