from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ghost_deploy.core.errors import MissingExtraError
from ghost_deploy.core.install_command import install_command


def installed_with(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    found = SimpleNamespace(read_text=lambda _: text)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: found)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"url": 3}'])
def test_from_an_index_or_unknown(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    installed_with(monkeypatch, text)
    assert install_command("web") == 'pip install "ghost-deploy[web]"'


def test_from_a_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_with(monkeypatch, '{"url": "file:///no/where", "dir_info": {}}')
    assert install_command("web") == "pip install '/no/where[web]'"


def test_from_a_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    (folder / "constraints.txt").touch()
    installed_with(monkeypatch, f'{{"url": "{folder.as_uri()}", "dir_info": {{"editable": true}}}}')
    pins = f"-c '{folder}/constraints.txt'"
    assert install_command("web") == f"pip install {pins} -e '{folder}[web]'"


def test_from_a_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    installed_with(monkeypatch, '{"url": "file:///w/g.whl", "archive_info": {}}')
    assert install_command("web") == "pip install 'ghost-deploy[web] @ file:///w/g.whl'"


def test_never_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> None:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert str(Path(__file__).resolve().parents[2]) in install_command("web")


def test_pip_takes_the_line_of_this_installation() -> None:
    words = str(MissingExtraError.for_extra("x", "tensorrt")).partition("pip ")[2]
    dry = ["--dry-run", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    command = f"{sys.executable} -m pip {words} {' '.join(dry)}"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    # hatchling, the build backend, need not be installed here: pip got as far as the folder.
    assert done.returncode == 0 or "hatchling" in done.stderr, done.stderr
