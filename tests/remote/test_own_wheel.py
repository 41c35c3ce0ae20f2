"""Wheels of what is installed: pip takes them, and what they install is the same."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import ghost_deploy
from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.remote.own_wheel import pack_own_wheel, pack_wheel, require_extras

PACKAGE = Path(ghost_deploy.__file__).parent


def test_what_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no-such-package is not installed"):
        pack_wheel("no-such-package", tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_has_compiled_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="run on this processor only"):
        pack_wheel("msgspec", tmp_path)


def test_an_extra_that_the_installation_does_not_know() -> None:
    require_extras(("onnxruntime", "openvino", "validate", "stream"))
    with pytest.raises(UnavailableError, match="does not know the extra nothing"):
        require_extras(("nothing",))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_own_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_same_files_give_the_same_wheel(own: Path, tmp_path: Path) -> None:
    assert pack_own_wheel(tmp_path).read_bytes() == own.read_bytes()


def test_every_file_is_recorded_with_its_hash(own: Path) -> None:
    with zipfile.ZipFile(own) as archive:
        (record,) = (name for name in archive.namelist() if name.endswith(".dist-info/RECORD"))
        rows = list(csv.reader(io.StringIO(archive.read(record).decode())))
        assert {row[0] for row in rows} == set(archive.namelist())
        for name, digest, size in rows:
            if name == record:
                continue
            data = archive.read(name)
            found = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            assert (digest, int(size)) == (f"sha256={found}", len(data))


def test_it_holds_the_package_and_nothing_else(own: Path) -> None:
    with zipfile.ZipFile(own) as archive:
        names = archive.namelist()
    modules = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*.py")}
    assert modules <= set(names)
    assert "ghost_deploy/py.typed" in names or not (PACKAGE / "py.typed").exists()
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]
    assert not [name for name in names if "direct_url" in name or name.endswith("/INSTALLER")]


def installed(wheel: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--no-compile", "--target", str(folder), str(wheel)], check=True)
    return folder


@pytest.mark.slow
def test_pip_installs_it_and_it_can_be_packed_again(own: Path, tmp_path: Path) -> None:
    """As for somebody who has no checkout, but installed from an index."""
    there = installed(own, tmp_path / "site")
    code = (
        "import sys; from pathlib import Path; "
        "from ghost_deploy.remote.own_wheel import pack_own_wheel; "
        "import ghost_deploy; assert ghost_deploy.__file__.startswith(sys.argv[1]); "
        "print(pack_own_wheel(Path(sys.argv[2])))"
    )
    out = tmp_path / "again"
    out.mkdir()
    subprocess.run(
        [sys.executable, "-c", code, str(there), str(out)],
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(there), "PATH": "/usr/bin:/bin"},
    )
    (again,) = out.iterdir()
    assert again.name == own.name
    with zipfile.ZipFile(own) as first, zipfile.ZipFile(again) as second:
        assert {n: first.read(n) for n in first.namelist() if "/RECORD" not in n} == {
            n: second.read(n) for n in second.namelist() if "/RECORD" not in n
        }


def test_a_wheel_of_pip_runs_without_being_installed(tmp_path: Path) -> None:
    wheel = pack_wheel("pip", tmp_path)
    done = subprocess.run(
        [sys.executable, f"{wheel}/pip", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"pip {metadata.version('pip')} from {wheel}")
