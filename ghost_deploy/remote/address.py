"""Addresses of boards: `ssh://[user@]host[:port][/folder]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from ghost_deploy.core.errors import UsageError

_FORM = "ssh://[user@]host[:port][/folder]"
# ssh reads a word with a dash in front as an option, and `-o ProxyCommand=...` runs a program.
_PLACE = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?)\]"
    r"|(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]*))(?::(?P<port>[0-9]{1,5}))?"
)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+\\-]*\$?")


@dataclass(frozen=True)
class BoardAddress:
    """The address of a board.

    Attributes:
        host: a host name, an address, or a name of the user's SSH configuration.
        user: the account; empty leaves it to the SSH configuration.
        port: None leaves it to the SSH configuration.
        folder: where everything is kept there: an absolute path, or one below the home folder with
            `~/` in front; empty for the default, `~/.cache/ghost-deploy/remote`.
    """

    host: str
    user: str = ""
    port: int | None = None
    folder: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = "" if self.port is None else f":{self.port}"
        folder = f"/{self.folder}" if self.folder.startswith("~") else self.folder
        return f"ssh://{user}{host}{port}{folder}"

    @property
    def name(self) -> str:
        """What tables and evidence call the board: its host, and the port if it is not 22."""
        return self.host if self.port in (None, 22) else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> BoardAddress:
        """Read an address; a blank or a special character of the folder may be %-encoded.

        Raises:
            UsageError: it is not of the form, has a password, or a name that ssh would take for
                an option.
        """
        if not text.startswith("ssh://"):
            raise _refused(text, f"Write {_FORM}, e.g. ssh://pi@raspberrypi.local")
        if re.search(r"[\x00-\x1f\x7f]", text):
            raise _refused(text, "Leave out line breaks and control characters")
        # A folder may hold ? and #, which separate nothing in an address of SSH.
        line, slash, folder = text.removeprefix("ssh://").partition("/")
        user, _, place = line.rpartition("@")
        if ":" in user:
            raise UsageError(
                "the address of a board holds a password",
                fix="Leave it out and use a key: ssh-copy-id USER@HOST",
            )
        host, port = _host_and_port(text, place)
        user = unquote(user)
        if ("@" in line and not user) or (user and not _USER.fullmatch(user)):
            raise _refused(text, f"The name of the user is not one: {user!r}")
        return cls(host, user, port, _folder(text, unquote(slash + folder)))


def parse_boards(texts: list[str]) -> list[BoardAddress]:
    """The addresses of several boards.

    Raises:
        UsageError: one is wrong, see `BoardAddress.parse`, or two name the same board.
    """
    found = [BoardAddress.parse(text) for text in texts]
    for index, address in enumerate(found):
        if any(address.name == other.name for other in found[:index]):
            raise UsageError(
                f"--on names {address.name} twice",
                fix="Name each board once: commands on one board would wait for each other",
            )
    return found


def _host_and_port(text: str, place: str) -> tuple[str, int | None]:
    found = _PLACE.fullmatch(place)
    if found is None:
        raise _refused(text, f"Write {_FORM}: {place!r} is not a host, or a host and a port")
    port = None if found["port"] is None else int(found["port"])
    if port is not None and not 0 < port < 1 << 16:
        raise _refused(text, f"Write {_FORM}: a port is a number from 1 to 65535")
    return found["six"] or found["host"], port


def _folder(text: str, path: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", path):
        raise _refused(text, "Name a folder without line breaks and control characters")
    path = path.rstrip("/")
    if path.startswith("/~/") or path == "/~":
        path = path[1:]
    elif path.startswith("/~"):
        raise _refused(text, "Name a folder of your own, /~/FOLDER, or a full path")
    if ".." in path.split("/"):
        raise _refused(text, "Name the folder without '..'")
    return path


def _refused(text: str, fix: str) -> UsageError:
    return UsageError(f"{text!r} is not the address of a board", expected=_FORM, fix=fix)
