"""Temporary files and folders: the living are left alone, those of dead processes go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ghost_deploy.core import leftovers
from ghost_deploy.core.bundle import Bundle, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.files import write_whole
from ghost_deploy.core.leftovers import Temporary, put_in_place, remove_leftovers
from tests.core.test_bundle import write

HOLDER = """
import sys, time
from pathlib import Path
from ghost_deploy.core.leftovers import Temporary
made = Temporary(Path(sys.argv[1]), folder=sys.argv[2] == "folder")
if sys.argv[2] == "folder":
    (made.path / "part.bin").write_bytes(b"half")
print(made.path.name, flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["folder", "file"])
def holder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has a temporary file or folder for `out`."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out"), request.param]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline().startswith(".out.ghost-deploy-")
        yield child
        child.kill()


def test_what_is_not_ours_is_left(tmp_path: Path) -> None:
    for name in (".out-abcdefgh", ".ghost-deploy-abcdefgh", ".out.ghost-deploy-abc", "out.old"):
        (tmp_path / name).mkdir()
    before = sorted(tmp_path.iterdir())
    remove_leftovers(tmp_path)
    remove_leftovers(tmp_path / "absent")
    assert sorted(tmp_path.iterdir()) == before


def test_of_a_living_process_it_is_left_of_a_dead_one_removed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    (before,) = tmp_path.iterdir()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [before]
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_next_file_written_there_removes_it(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    write_whole(tmp_path / "other.json", lambda file: file.write(b"{}"))
    assert [path.name for path in tmp_path.iterdir()] == ["other.json"]


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_lock", lambda _handle, *, wait: False)
    left = tmp_path / ".out.ghost-deploy-abcdefgh"
    left.mkdir()
    remove_leftovers(tmp_path)
    assert left.is_dir()


def test_an_output_that_was_moved_away_is_put_back(tmp_path: Path) -> None:
    """The process died after the old bundle was moved and before the new one had its name."""
    bundle = write(tmp_path / "out", content=b"old")
    os.rename(bundle.path, tmp_path / ".out.ghost-deploy-abcdefgh.old")
    (tmp_path / ".out.ghost-deploy-abcdefgh").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        BundleWriter(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "model.fp32.onnx").read_bytes() == b"old"


def test_an_old_output_beside_the_new_one_is_removed(tmp_path: Path) -> None:
    write(tmp_path / "out", content=b"new")
    write(tmp_path / "before", content=b"old")
    os.rename(tmp_path / "before", tmp_path / ".out.ghost-deploy-abcdefgh.old")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "model.fp32.onnx").read_bytes() == b"new"


@pytest.mark.parametrize("exchange", [True, False])
def test_replacing_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(leftovers, "_exchange", lambda *_: False)
    write(tmp_path / "out", content=b"old")
    write(tmp_path / "out", overwrite=True, content=b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (artifact,) = Bundle.read(tmp_path / "out", verify=True).artifacts
    assert (tmp_path / "out" / artifact.path).read_bytes() == b"new"


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is a call of Linux")
def test_the_names_are_exchanged_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the target was gone for a moment")

    write(tmp_path / "out", content=b"old")
    monkeypatch.setattr(Temporary, "_move_away_and_rename", fail)
    write(tmp_path / "out", overwrite=True, content=b"new")
    assert (tmp_path / "out" / "model.fp32.onnx").read_bytes() == b"new"


def test_a_long_name(tmp_path: Path) -> None:
    with closing(Temporary(tmp_path / ("x" * 250), folder=False)) as temporary:
        assert temporary.path.exists()
    assert list(tmp_path.iterdir()) == []


INTERRUPTED = """
import os, sys
from pathlib import Path
from ghost_deploy.core import leftovers

def interrupt(*_, **__):
    raise KeyboardInterrupt

target = Path(sys.argv[1])
kept = leftovers.Temporary(target, folder=True)
if os.fork() == 0:
    sys.exit()  # a child that ends removes nothing of its parent
os.wait()
assert kept.path.exists()
leftovers._lock = interrupt
try:
    leftovers.Temporary(target, folder=sys.argv[2] == "folder")
except KeyboardInterrupt:
    os.chdir("/")
"""


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_interrupt_before_anyone_has_it_leaves_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    command = [sys.executable, "-c", INTERRUPTED, "in/out", kind]
    subprocess.run(command, check=True, timeout=60, cwd=tmp_path)
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("exchange", [True, False])
@pytest.mark.parametrize("there", [None, {}, {"old": "1"}])
def test_a_folder_takes_the_place_of_another(
    there: dict[str, str] | None, exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(leftovers, "_exchange", lambda *_: False)
    scratch, place = tmp_path / "scratch", tmp_path / "place"
    (scratch / "made").mkdir(parents=True)
    (scratch / "made" / "new").write_text("2")
    if there is not None:
        place.mkdir()
        for name, text in there.items():
            (place / name).write_text(text)
    put_in_place(scratch / "made", place)
    assert [path.name for path in place.iterdir()] == ["new"]


def test_what_cannot_take_its_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_exchange", lambda *_: False)
    place = tmp_path / "place"
    place.mkdir()
    (place / "old").write_text("1")
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "absent", place)
    assert (place / "old").read_text() == "1"


@pytest.mark.skipif(os.name != "posix", reason="needs the permissions of POSIX")
@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002, 0o027])
def test_files_have_the_permissions_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    """Images of people were readable by all, whatever the umask."""
    before = os.umask(umask)
    try:
        write_whole(tmp_path / "file", lambda file: file.write(b"x"))
        (tmp_path / "plain").touch()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"file": 0o666 & ~umask, "plain": 0o666 & ~umask}
