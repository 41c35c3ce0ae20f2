"""`check --on`: a real board with an account of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ghost_deploy.core.bundle import Bundle
from tests.support.exports import shared_proved_bundle
from tests.support.ssh_board import SshBoard


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose name is hard to quote."""
    folder = tmp_path_factory.mktemp("here") / "it's a -größe\" $HOME"
    shutil.copytree(shared_proved_bundle(tmp_path_factory), folder)
    return folder


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "ghost_deploy.cli.main", *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
    )


def names_below(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.glob("*"))


@pytest.mark.slow
def test_check_on_a_board(board: SshBoard, bundle: Path) -> None:
    """Installation from the board's own index, the check, its evidence, and its removal."""
    before = Bundle.read(bundle).document
    words = ("check", str(bundle), "--on", board.address(), "--no-speed", "--runtime", "ort")
    done = run(*words, "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["boards"]
    assert found["board"]["python"].startswith("3.")
    statuses = {row["artifact"]: row["status"] for row in found["report"]["rows"]}
    assert statuses == {"onnx-fp32": "verified", "onnx-fp16": "verified"}
    boards = Bundle.read(bundle).evidence.boards
    assert boards is not None
    (record,) = boards.boards
    assert record.board.name == f"127.0.0.1:{board.port}"
    assert "onnxruntime" in record.board.packages
    assert record.check is not None
    assert record.check.passed
    assert Bundle.read(bundle).document.artifacts == before.artifacts
    again = run(*words)
    assert again.returncode == 0
    assert "installing" not in again.stderr
    assert "onnx-fp32" in again.stdout
    assert not board.processes()
    cleaned = run("check", str(bundle), "--on", board.address(), "--clean")
    assert "removed environments" in cleaned.stdout
    assert not list((board.home / ".cache" / "ghost-deploy").rglob("*"))


def test_a_board_that_is_not_there(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_DEPLOY_SSH", "ssh -F none")
    words = ["check", str(bundle), "--on", "ssh://127.0.0.1:1", "--on", "ssh://[::1]:1", "--json"]
    done = run(*words)
    assert done.returncode == 2
    document = json.loads(done.stdout)
    assert [each["exit_code"] for each in document["boards"]] == [2, 2]
    assert all("cannot be reached" in each["error"] for each in document["boards"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--on", "ssh://-oProxyCommand=x"], "not the address of a board"),
        (["--on", "ssh://a", "--on", "ssh://a"], "twice"),
        (["--clean"], "--clean is for boards"),
        (["--wheels", "w"], "--wheels is for boards"),
    ],
)
def test_wrong_use(bundle: Path, words: list[str], said: str) -> None:
    done = run("check", str(bundle), *words)
    assert done.returncode == 2
    assert said in done.stderr


def test_without_a_bundle_no_board_is_asked(tmp_path: Path) -> None:
    done = run("check", str(tmp_path / "no"), "--on", "ssh://127.0.0.1:1")
    assert done.returncode == 2
    assert "is no bundle" in done.stderr
