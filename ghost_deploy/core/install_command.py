"""The command that installs an extra of this package, from where this package came."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_NAME = "ghost-deploy"
_CHECKOUT = Path(__file__).resolve().parents[2]


class _Origin(NamedTuple):
    """The direct_url.json of an installation that is not from an index (PEP 610)."""

    url: str
    folder: bool
    editable: bool


def install_command(extra: str) -> str:
    """The pip command that adds `extra` to this installation.

    A package that was installed from a folder is installed from there again, with the versions
    that were tested (its constraints.txt); one from a file from that file; else by name.
    """
    # Not imported by every start of a command: only an error needs them.
    import shlex
    from urllib.parse import unquote, urlsplit

    origin = _read_origin()
    if origin is None:
        return f'pip install "{_NAME}[{extra}]"'
    if not origin.folder:
        return f"pip install {shlex.quote(f'{_NAME}[{extra}] @ {origin.url}')}"
    folder = unquote(urlsplit(origin.url).path)
    constraints = Path(folder) / "constraints.txt"
    pins = f"-c {shlex.quote(str(constraints))} " if constraints.is_file() else ""
    editable = "-e " if origin.editable else ""
    return f"pip install {pins}{editable}{shlex.quote(f'{folder}[{extra}]')}"


def _read_origin() -> _Origin | None:
    """Where this package was installed from; None for an index, or if it is not known."""
    import importlib.metadata
    import json

    try:
        text = importlib.metadata.distribution(_NAME).read_text("direct_url.json")
        found = json.loads(text or "null")
    except importlib.metadata.PackageNotFoundError:
        # Imported from a checkout that was never installed.
        is_checkout = (_CHECKOUT / "pyproject.toml").is_file()
        return _Origin(_CHECKOUT.as_uri(), True, False) if is_checkout else None
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("url"), str):
        return None
    place = found.get("dir_info")
    if not isinstance(place, dict):
        return _Origin(found["url"], False, False)
    return _Origin(found["url"], True, bool(place.get("editable")))
