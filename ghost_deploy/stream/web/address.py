"""Where the web view listens, and who may be there."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from ghost_deploy.core.errors import InputError, UsageError

__all__ = ["LEAST_TOKEN", "Address", "check_token", "is_expected_host", "listen"]

LEAST_TOKEN = 16
"""Characters of a token that guards an address other machines can reach."""

_LARGEST_PORT = 65535


@dataclass(frozen=True)
class Address:
    """A host, as the user wrote it, and a port; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`HOST:PORT`, `[IPV6]:PORT`, `:PORT` or `PORT`; without a host it is 127.0.0.1.

        Raises:
            UsageError: none of these.
        """
        host, _, port = text.strip().rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        ok = port.isascii() and port.isdecimal() and int(port) <= _LARGEST_PORT
        # Without brackets it cannot be told where an IPv6 address ends.
        if not ok or (":" in host) != bracketed or any(c.isspace() or c in "/@[]" for c in host):
            raise UsageError(
                "this is no address to serve at",
                got=repr(text),
                expected="HOST:PORT",
                fix="Give for example 127.0.0.1:8080",
            )
        return cls(host or "127.0.0.1", int(port))


def listen(address: Address) -> socket.socket:
    """A listening socket at the first address that the host's name stands for.

    Raises:
        InputError: the address is in use, or not one of this machine.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            # A restart must not wait until the connections of the last run have timed out.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            # What lies in the buffer of a slow connection is old when it arrives.
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
    """A view that other machines can reach needs a token that cannot be guessed.

    Raises:
        UsageError: there is none, or it is too short.
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

    A page on the web can make a name of its own point here, and its browser then asks under that
    name. So only numeric addresses, `localhost`, the machine's own name and the name that is
    served are answered.

    Args:
        header: value of the `Host` header.
        served: `Address.host`.
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
