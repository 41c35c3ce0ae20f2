"""Files to and from a board over lines that break, shells that talk and disks that are full."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghost_deploy.core.errors import BoardError, LineError
from ghost_deploy.remote import session as session_module
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.session import BoardSession, opened
from ghost_deploy.remote.transfer import Transfer
from tests.support.cut_proxy import CutProxy
from tests.support.ssh_board import SshBoard

HARD_NAMES = ("a b.bin", "it's", '"quoted"', "größe.jpg", "-x", "$HOME", "a\\b", "deep/er/-é'\"")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Files whose names are hard, and one of 3 MiB that does not compress."""
    made = {}
    for index, name in enumerate(HARD_NAMES):
        path = tmp_path / "here" / f"{index}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode() * 50)
        made[name] = path
    large = tmp_path / "here" / "large"
    large.write_bytes(random.Random(1).randbytes(3 << 20))
    return {**made, "large": large}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_PAUSES_S", (0.05,) * 6)


@pytest.fixture(params=["rsync", "archive"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How files go over."""
    if request.param == "archive":
        reason = property(lambda _: "this test says so")
        monkeypatch.setattr(Transfer, "without_rsync", reason)
    return str(request.param)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def wanted(files: dict[str, Path]) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in files.items()}


def test_there_and_back(
    session: BoardSession, files: dict[str, Path], tmp_path: Path, way: str
) -> None:
    there = session.send(files, "data", "a b'\"é")
    assert content(Path(there)) == wanted(files)
    files.pop("a b.bin")
    files["it's"].write_bytes(b"changed")
    session.send(files, "data", "a b'\"é")
    assert content(Path(there)) == wanted(files)
    session.fetch(there, tmp_path / "back ü'")
    assert content(tmp_path / "back ü'") == wanted(files)


def test_nothing_to_send(session: BoardSession, tmp_path: Path, way: str) -> None:
    there = session.send({}, "data", "empty")
    session.fetch(there, tmp_path / "back")
    assert content(Path(there)) == content(tmp_path / "back") == {}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_a_line_that_is_cut_again_and_again(
    board: SshBoard, files: dict[str, Path], tmp_path: Path, way: str, seed: int
) -> None:
    """Cut after random numbers of bytes, in either direction of the work."""
    source = random.Random(seed)
    said: list[str] = []
    with CutProxy(board.port) as proxy:
        address = BoardAddress.parse(board.address(f"/{board.home}/cut{way}{seed}", proxy.port))
        with opened(address, said.append) as session:
            proxy.cut_after(*(source.randrange(2_000, 2_500_000) for _ in range(3)))
            there = session.send(files, "data", "k")
            assert content(Path(there)) == wanted(files)
            proxy.cut_after(source.randrange(2_000, 2_500_000))
            session.fetch(there, tmp_path / "back")
    assert content(tmp_path / "back") == wanted(files)
    assert sum("broke" in text for text in said) >= 2


@pytest.mark.usefixtures("quick")
def test_a_line_that_never_holds(board: SshBoard, files: dict[str, Path]) -> None:
    with (
        CutProxy(board.port) as proxy,
        opened(
            BoardAddress.parse(board.address(f"/{board.home}/never", proxy.port)), lambda _: None
        ) as session,
    ):
        proxy.cut_after(*(60_000,) * 50)
        with pytest.raises(LineError):
            session.send(files, "data", "k")


def test_what_was_sent_before_a_cut_is_not_sent_again(
    board: SshBoard, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_PAUSES_S", (0.05,) * 6)
    with CutProxy(board.port) as proxy:
        address = BoardAddress.parse(board.address(f"/{board.home}/again", proxy.port))
        with opened(address, lambda _: None) as session:
            session.send({"large": files["large"]}, "data", "k")
            before = proxy.passed
            session.send({"large": files["large"]}, "data", "k")
            assert proxy.passed - before < 200_000


@pytest.fixture
def full_disk(board: SshBoard, tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB in the board's home folder."""
    if os.getuid() != 0:
        pytest.skip("a small disk is mounted by root")
    place = board.home / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(place)], check=False
    )
    if mounted.returncode:
        place.rmdir()
        pytest.skip("a tmpfs cannot be mounted here")
    place.chmod(0o777)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


def test_a_full_disk_is_seen_before_anything_is_sent(
    board: SshBoard, full_disk: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(30 << 20))
    with opened(BoardAddress.parse(board.address(str(full_disk))), lambda _: None) as session:
        with pytest.raises(BoardError, match="too little free space") as caught:
            session.send({"large": large}, "data", "k")
        assert "--clean" in caught.value.fix
        assert not list(full_disk.rglob("large"))


def test_a_disk_that_fills_up_meanwhile(
    board: SshBoard, full_disk: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Transfer,
        "_require_space",
        lambda self, _files, folder: self.line.call_module("board_files", "make", folder),
    )
    large = tmp_path / "large"
    large.write_bytes(random.Random(2).randbytes(30 << 20))
    with opened(BoardAddress.parse(board.address(str(full_disk))), lambda _: None) as session:
        with pytest.raises(BoardError, match=r"free space|No space") as caught:
            session.send({"large": large}, "data", "k")
        assert not isinstance(caught.value, LineError)
        whole = [path for path in full_disk.rglob("large") if "part" not in path.parent.name]
        assert whole == []


def test_clean_removes_ours_and_nothing_else(board: SshBoard, files: dict[str, Path]) -> None:
    place = board.home / "shared disk"
    other = place / "data" / "other.jpg"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"kept")
    place.chmod(0o777)
    with opened(BoardAddress.parse(board.address(str(place))), lambda _: None) as session:
        session.send(files, "data", "k")
        assert {name for name, _ in session.remove(*session_module.OURS)} == {"data", "lock"}
    assert content(place) == {"data/other.jpg": b"kept"}
