"""The token of the web view, from where the system keeps secrets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ghost_deploy.core.errors import InputError

_VARIABLE, _FILE_VARIABLE = "GHOST_DEPLOY_TOKEN", "GHOST_DEPLOY_TOKEN_FILE"
_CREDENTIALS, _CREDENTIAL = "CREDENTIALS_DIRECTORY", "ghost-deploy-token"
_LONGEST = 4096


def read_token(environment: Mapping[str, str] = os.environ) -> str | None:
    """The token, or None where there is none.

    It is the value of GHOST_DEPLOY_TOKEN, else the first line of the file that
    GHOST_DEPLOY_TOKEN_FILE names, else the credential `ghost-deploy-token` that systemd passes
    (`LoadCredential`). It is no option: all users of a machine can read its command lines.

    Raises:
        InputError: a file that is named cannot be read or is empty.
    """
    if token := environment.get(_VARIABLE):
        return token
    if name := environment.get(_FILE_VARIABLE):
        return _first_line(Path(name))
    folder = environment.get(_CREDENTIALS)
    passed = Path(folder) / _CREDENTIAL if folder else None
    return _first_line(passed) if passed and passed.is_file() else None


def _first_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            token = file.read(_LONGEST).partition(b"\n")[0].strip().decode()
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"the token cannot be read from {path}",
            got=getattr(error, "strerror", None) or "it is no text",
            fix="Name a file that this account may read, with the token as its first line",
        ) from error
    if not token:
        raise InputError(
            f"the token cannot be read from {path}",
            got="an empty line",
            fix="Write a token there, e.g. that of: openssl rand -hex 16",
        )
    return token
