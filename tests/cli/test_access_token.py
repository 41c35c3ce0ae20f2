from __future__ import annotations

from pathlib import Path

import pytest

from ghost_deploy.cli.access_token import read_token
from ghost_deploy.core.errors import InputError


def test_without_a_token(tmp_path: Path) -> None:
    assert read_token({}) is None
    assert read_token({"GHOST_DEPLOY_TOKEN": ""}) is None
    assert read_token({"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None


@pytest.mark.parametrize("content", [b"", b"\n", b"  \nabc\n", b"\xff\xfe\n"])
def test_a_file_without_a_token(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read"):
        read_token({"GHOST_DEPLOY_TOKEN_FILE": str(tmp_path / "token")})


@pytest.mark.parametrize("name", ["none", "."])
def test_a_file_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_token({"GHOST_DEPLOY_TOKEN_FILE": str(tmp_path / name)})


def test_where_it_is_found_first(tmp_path: Path) -> None:
    (tmp_path / "ghost-deploy-token").write_bytes(b"of-systemd\n")
    (tmp_path / "file").write_bytes(b" of-a-file \r\nsecond line")
    environment = {
        "GHOST_DEPLOY_TOKEN": "of-the-variable",
        "GHOST_DEPLOY_TOKEN_FILE": str(tmp_path / "file"),
        "CREDENTIALS_DIRECTORY": str(tmp_path),
    }
    found = []
    for name in tuple(environment):
        found.append(read_token(environment))
        del environment[name]
    assert found == ["of-the-variable", "of-a-file", "of-systemd"]
