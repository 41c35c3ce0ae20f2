"""Addresses of cameras and servers, split as the manuals of cameras write them.

A password may hold `[ ] # / ? @ :` without escapes, which no library for URLs takes.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from ghost_deploy.core.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SERVER = re.compile(
    r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s/?#@:\[\]&=%\\]+)(?::(\d{1,5}))?(?=[/?#]|$)"
)
_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class CameraAddress:
    """The parts of an address.

    Attributes:
        scheme: in lower case.
        user, password: without escapes; empty if there are none.
        host: name or number; that of IPv6 without brackets.
        port: None if it is not given.
        rest: path, query and fragment as they were written.
    """

    scheme: str
    user: str
    password: str
    host: str
    port: int | None
    rest: str

    @property
    def bare(self) -> str:
        """The address without user and password."""
        return f"{self.scheme}://{self._server}{self.rest}"

    @property
    def url(self) -> str:
        """The address with user and password escaped, as libraries for URLs take it."""
        if not (self.user or self.password):
            return self.bare
        password = f":{quote(self.password, safe='')}" if self.password else ""
        return f"{self.scheme}://{quote(self.user, safe='')}{password}@{self._server}{self.rest}"

    @property
    def _server(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def __repr__(self) -> str:
        return f"CameraAddress({self.scheme}://***@{self._server})"


def split_address(text: str) -> CameraAddress:
    """Split an address; `%XX` in user and password is unescaped.

    Where several readings are possible, the one whose server is a number, `localhost` or has a port
    counts, and of those the one that RFC 3986 prescribes.

    Raises:
        UsageError: there is no server, or no valid port; nothing of the address is repeated.
    """
    scheme = _SCHEME.match(text)
    assert scheme, "the caller has checked it"
    after = text[scheme.end() :]
    readings = {
        at: server
        for at in (-1, *(found.start() for found in re.finditer("@", after)))
        if (server := _SERVER.match(after, at + 1)) and _has_valid_port(server)
    }
    if not readings:
        raise _unusable(scheme[1].lower())
    at = _choose(readings, re.split(r"[/?#]", after, maxsplit=1)[0].rfind("@"))
    server = readings[at]
    user, _, password = after[: max(0, at)].partition(":")
    return CameraAddress(
        scheme[1].lower(),
        unquote(user),
        unquote(password),
        server[1].strip("[]"),
        int(server[2]) if server[2] else None,
        after[server.end() :],
    )


def _choose(readings: dict[int, re.Match[str]], by_rfc: int) -> int:
    """Where user and password end: a key of `readings`, -1 for none."""
    last = max(readings)
    if by_rfc in readings and by_rfc >= 0 and _is_firm(readings[by_rfc]):
        return by_rfc
    if last >= 0 and _is_firm(readings[last]):
        return last
    # No address of a camera has a query or a fragment without a path.
    follows = readings[by_rfc].string[readings[by_rfc].end() :] if by_rfc in readings else "#"
    return last if follows[:1] in {"#", "?"} else by_rfc


def _is_firm(server: re.Match[str]) -> bool:
    """Whether a part of a password would hardly look like that."""
    if server[2] or server[1].lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(server[1].strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def _has_valid_port(server: re.Match[str]) -> bool:
    return server[2] is None or 0 < int(server[2]) <= _HIGHEST_PORT


def _unusable(scheme: str) -> UsageError:
    return UsageError(
        f"a {scheme}:// address names no server",
        expected=f"{scheme}://USER:PASSWORD@HOST:PORT/PATH, with a port of 1 to {_HIGHEST_PORT}",
        fix="Check it; if the password holds one of / ? # @, write %2F %3F %23 %40 instead",
    )
