"""The address where the web view listens, and the rules for it."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from ghost_deploy.core.errors import InputError, UsageError

LEAST_TOKEN = 16
"""Least length of a token, if other machines can reach the address."""

_LARGEST_PORT = 65535


@dataclass(frozen=True)
class ListenAddress:
    """A host, as the user wrote it, and a port; with port 0 the system chooses one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Parse `HOST:PORT`, `[IPV6]:PORT`, `:PORT` or `PORT`; the default host is 127.0.0.1.

        Raises:
            UsageError: `text` is none of these.
        """
        host, _, port = text.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        ok = port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT
        # Without brackets the end of an IPv6 address is ambiguous.
        if not ok or (":" in host) != bracketed or any(c.isspace() or c in "/@[]" for c in host):
            raise UsageError(
                "this is not an address to serve at",
                got=repr(text),
                expected="HOST:PORT",
                fix="Give for example 127.0.0.1:8080",
            )
        return cls(host or "127.0.0.1", int(port))


def listen(address: ListenAddress) -> socket.socket:
    """Open a listening socket at the first address that the host resolves to.

    Raises:
        InputError: the address is in use, or not one of this machine.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # A restart must not wait for connections of the last run to time out.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # A small buffer: what waits in it for a slow connection is old when it arrives.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 128 * 1024)
            listener.bind(where)
            listener.listen(64)
        except BaseException:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"cannot serve at {address.host} port {address.port}",
            got=getattr(error, "strerror", None) or str(error),
            fix="Choose another port, or an address of this machine",
        ) from error
    return listener


def check_token(listener: socket.socket, token: str | None) -> None:
    """Require a token that cannot be guessed if other machines can reach the view.

    Raises:
        UsageError: the token is missing or too short.
    """
    host = listener.getsockname()[0]
    # A link-local IPv6 address carries its zone: `fe80::1%eth0`.
    if ipaddress.ip_address(host.partition("%")[0]).is_loopback and token is None:
        return
    if token is None or len(token) < LEAST_TOKEN:
        raise UsageError(
            f"{host} can be reached from other machines"
            if token is None
            else "the token of the web view is too short",
            got="no token" if token is None else f"{len(token)} characters",
            expected=f"a token of at least {LEAST_TOKEN} characters",
            fix="Set one, or serve at 127.0.0.1 without",
        )


def is_expected_host(header: str, served: str) -> bool:
    """Whether the `Host` of a request is one that DNS rebinding cannot forge.

    A page on the web can let a name of its own resolve to this machine, and browsers then send
    that name. Only numeric addresses, `localhost`, the name of the machine and the configured name
    are accepted.

    Args:
        header: value of the `Host` header.
        served: `ListenAddress.host`.
    """
    host, colon, port = header.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()):
        host = header
    host = host.lower().rstrip(".")
    machine = socket.gethostname().lower()
    if host in {"localhost", served.lower(), machine, f"{machine}.local"}:
        return True
    try:
        ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
    except ValueError:
        return False
    return True
