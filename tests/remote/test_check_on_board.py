"""`check --on`: a real board with an account of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.session import OURS, opened
from tests.support.command_in_process import run_command
from tests.support.constant_model import write_constant_bundle
from tests.support.exports import shared_proved_bundle
from tests.support.ssh_board import SshBoard, ssh_board
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose name is hard to quote."""
    folder = tmp_path_factory.mktemp("here") / "it's a -größe\" $HOME"
    shutil.copytree(shared_proved_bundle(tmp_path_factory), folder)
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_constant_bundle(tmp_path / "small").path


def names_below(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.glob("*"))


@pytest.mark.slow
def test_check_on_a_board(board: SshBoard, bundle: Path) -> None:
    """Installation from the board's own index, the check, its evidence, and its removal."""
    before = Bundle.read(bundle).document
    words = ("check", str(bundle), "--on", board.address(), "--no-speed", "--runtime", "ort")
    done = run_command(*words, "--json")
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
    again = run_command(*words)
    assert again.returncode == 0
    assert "installing" not in again.stderr
    assert "onnx-fp32" in again.stdout
    assert f"Check on 127.0.0.1:{board.port}" in again.stdout
    wait_until(lambda: not board.processes(), state=board.processes)
    cleaned = run_command("check", str(bundle), "--on", board.address(), "--clean")
    assert "removed environments" in cleaned.stdout
    assert not (board.home / ".cache" / "ghost-deploy").exists()


def test_a_board_that_is_not_there(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHOST_DEPLOY_SSH", "ssh -F none")
    words = ["check", str(small), "--on", "ssh://127.0.0.1:1", "--on", "ssh://[::1]:1", "--json"]
    done = run_command(*words)
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
def test_wrong_use(small: Path, words: list[str], said: str) -> None:
    done = run_command("check", str(small), *words)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "--runtime", "litert"], "has nothing to run as litert"),
        (["check", "--runtime", "rknn", "--device", "npu"], "has nothing to run as rknn"),
        (["check", "--precision", "int8", "bf16"], "has nothing to run as int8 or bf16"),
        (["check", "--runtime", "kserve"], "validate --url"),
    ],
)
@pytest.mark.parametrize("on", [(), ("--on", "ssh://127.0.0.1:1")])
def test_a_check_of_what_a_bundle_does_not_hold(
    small: Path, words: list[str], said: str, on: tuple[str, ...]
) -> None:
    done = run_command(*words, *on, "--", str(small))
    assert done.returncode == 2
    assert said in done.stderr
    if "kserve" not in words:
        assert "got: onnx-fp32" in done.stderr
        other = "ghost-deploy calibrate" if "int8" in words else "Choose another --runtime"
        assert other in done.stderr.partition("next: ")[2]


@pytest.mark.parametrize(
    "words",
    [
        ["infer", "--runtime", "ncnn", "BUNDLE", "IMAGE"],
        ["bench", "--runtime", "ncnn", "--", "BUNDLE"],
        ["infer", "--precision", "int8", "BUNDLE", "IMAGE"],
    ],
)
def test_what_a_bundle_does_not_hold_is_told_before_a_board_is_asked(
    small: Path, tmp_path: Path, words: list[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    places = {"BUNDLE": str(small), "IMAGE": str(tmp_path / "a.png")}
    command, *rest = [places.get(word, word) for word in words]
    done = run_command(command, "--on", "ssh://127.0.0.1:1", *rest)
    assert done.returncode == 2
    assert f"{small} has nothing to run as" in done.stderr


def test_cleaning_leaves_no_folder(board: SshBoard) -> None:
    with opened(BoardAddress.parse(board.address()), lambda _: None) as session:
        session.make("out")
        assert session.remove(*OURS)
    assert not (board.home / ".cache" / "ghost-deploy").exists()


def test_cleaning_leaves_what_is_not_ours(board: SshBoard) -> None:
    with opened(BoardAddress.parse(board.address()), lambda _: None) as session:
        (board.home / ".cache" / "ghost-deploy" / "other").write_text("")
        session.remove(*OURS)
    assert (board.home / ".cache" / "ghost-deploy" / "other").exists()
    (board.home / ".cache" / "ghost-deploy" / "other").unlink()


def test_without_a_bundle_no_board_is_asked(tmp_path: Path) -> None:
    done = run_command("check", str(tmp_path / "no"), "--on", "ssh://127.0.0.1:1")
    assert done.returncode == 2
    assert "is no bundle" in done.stderr


@pytest.fixture
def offline_board(tmp_path: Path) -> Iterator[SshBoard]:
    """A board without a network, with another Python than that of the tests if one is here."""
    with ssh_board() as started:
        config = started.home / ".config" / "pip" / "pip.conf"
        config.parent.mkdir(parents=True)
        config.write_text("[global]\nindex-url = http://127.0.0.1:9/simple\nextra-index-url =\n")
        others = [each for each in other_pythons() if each.name != f"python{VERSION}"]
        if others:
            program = copy_python(others[0], started.home / "python")
            started.restart_with(
                PATH=f"{program.parent}:/usr/bin:/bin",
                LD_LIBRARY_PATH=str(program.parents[1] / "lib"),
            )
        yield started


VERSION = ".".join(map(str, sys.version_info[:2]))


def other_pythons() -> list[Path]:
    """Programs of Python 3.10 or newer on this machine, the oldest first."""
    places = [*Path("/root/.pyenv/versions").glob("3.1[0-9].*/bin"), Path("/usr/bin")]
    found = [path for place in places for path in place.glob("python3.1[0-9]")]
    return sorted(found, key=lambda path: path.name)


def copy_python(program: Path, target: Path) -> Path:
    """A copy that another account can read, without its tests and packages."""
    library = program.parents[1] / "lib" / program.name
    left_out = shutil.ignore_patterns("test", "site-packages", "__pycache__", "idlelib", "config-*")
    shutil.copytree(library, target / "lib" / program.name, ignore=left_out)
    (target / "lib" / program.name / "site-packages").mkdir()
    (target / "bin").mkdir()
    shutil.copy(program.resolve(), target / "bin" / program.name)
    for path in program.parents[1].glob("lib/libpython*"):
        shutil.copy(path, target / "lib")
    (target / "bin" / "python3").symlink_to(program.name)
    return target / "bin" / program.name


@pytest.mark.slow
def test_a_board_without_a_network_gets_its_wheels_from_here(
    offline_board: SshBoard, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GHOST_DEPLOY_SSH", offline_board.command)
    words = ("check", str(bundle), "--on", offline_board.address(), "--no-speed", "--json")
    refused = run_command(*words, "--runtime", "ort")
    assert refused.returncode == 3
    assert "--wheels" in refused.stderr
    done = run_command(*words, "--runtime", "ort", "--wheels", str(tmp_path / "wheels"))
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["boards"]
    assert {row["status"] for row in found["report"]["rows"]} == {"verified"}
    assert list((tmp_path / "wheels").glob("onnxruntime-*.whl"))
    left = offline_board.home / ".cache" / "ghost-deploy" / "remote"
    assert names_below(left) == ["bundles", "cache", "environments", "lock"]


@pytest.mark.slow
def test_a_signed_bundle_is_asked_for_its_signature_there_too(
    board: SshBoard, bundle: Path, tmp_path: Path
) -> None:
    signed = tmp_path / "signed"
    shutil.copytree(bundle, signed)
    key = board.folder / "key"
    assert run_command("sign", str(signed), "--key", str(key)).returncode == 0
    signers = tmp_path / "sign ers"
    signers.write_text("maker@example.org " + (board.folder / "key.pub").read_text())
    words = ("--on", board.address(), "--no-speed", "--runtime", "ort", "--trust", str(signers))
    done = run_command("check", str(signed), *words)
    assert done.returncode == 0, done.stderr
    unsigned = run_command("check", str(bundle), *words)
    assert unsigned.returncode == 2
    assert "not signed" in unsigned.stderr


def test_a_disk_that_is_too_small_for_the_environment(
    board: SshBoard, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is installed."""
    if os.getuid() != 0:
        pytest.skip("a small disk is mounted by root")
    place = board.home / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m,mode=777", "none", str(place)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        done = run_command("check", str(small), "--on", board.address(str(place)))
        assert done.returncode == 2
        assert "too little free space" in done.stderr
        assert names_below(place / "ghost-deploy-remote") == ["lock"]
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
