"""One board for all tests of a module, and SSH that knows its key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.line import Line
from ghost_deploy.remote.session import BoardSession, opened
from tests.support.ssh_board import SshBoard, ssh_board


@pytest.fixture(scope="module")
def board() -> Iterator[SshBoard]:
    with ssh_board() as started:
        yield started


@pytest.fixture(autouse=True)
def ssh_of_the_board(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "board" in request.fixturenames:
        started = request.getfixturevalue("board")
        monkeypatch.setenv("GHOST_DEPLOY_SSH", started.command)


@pytest.fixture
def session(board: SshBoard) -> Iterator[BoardSession]:
    with opened(BoardAddress.parse(board.address()), lambda _: None) as started:
        yield started


@pytest.fixture
def line(board: SshBoard, tmp_path: Path) -> Iterator[Line]:
    """A line that holds a command which never ends."""
    started = Line(BoardAddress.parse(board.address()), tmp_path, silence_s=3)
    started.open(["sh", "-c", "echo ready; exec sleep 1000"])
    yield started
    started.close()
