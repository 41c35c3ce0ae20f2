"""An inference server: its address, what is sent along, and how long it is waited for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ghost_deploy.core.errors import InputError, UsageError

TOKEN, TOKEN_FILE = "GHOST_DEPLOY_SERVER_TOKEN", "GHOST_DEPLOY_SERVER_TOKEN_FILE"
"""Environment variables with the token of the server, or with the file that holds it."""

PRECISION_KEY, HASH_KEY = "ghost_deploy.precision", "ghost_deploy.sha256"
"""Keys of the parameters with the precision and the hash of the artifact that a server runs."""

_PORTS = {"http": 80, "https": 443, "grpcs": 443}
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_EXPECTED = "http://host:8000/MODEL, grpc://host:8001/MODEL, also https, grpcs, and /versions/N"
_LONGEST = 16384
_GRPC_KINDS = frozenset(
    {"dns", "ipv4", "ipv6", "passthrough", "unix", "unix-abstract", "vsock", "xds"}
)
"""Before a colon gRPC takes these for a kind of address, not for a host."""


@dataclass(frozen=True)
class ServerAddress:
    """The parts of an address.

    Attributes:
        scheme: `http`, `https`, `grpc` or `grpcs`.
        host: without brackets.
        port: its number.
        prefix: of the path before `/v2`, e.g. of an ingress; empty or with a slash in front.
        model: name of the model on the server.
        version: of the model; empty lets the server choose.
    """

    scheme: str
    host: str
    port: int
    prefix: str
    model: str
    version: str

    @classmethod
    def parse(cls, url: str) -> ServerAddress:
        """Split `SCHEME://HOST[:PORT][/PREFIX/v2/models]/MODEL[/versions/N]`.

        Raises:
            UsageError: it is no such address, or holds a user, a password or a query. Messages
                do not repeat what may be secret.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise _wrong("it cannot be read") from None
        _require_plain(parts, url)
        if not parts.hostname or not port:
            raise _wrong(f"{_safe(parts)}, without a {'port' if parts.hostname else 'host'}")
        if parts.scheme.startswith("grpc") and parts.hostname in _GRPC_KINDS:
            raise UsageError(
                f"gRPC does not take {parts.hostname!r} for a host",
                got=_safe(parts),
                expected=f"{_EXPECTED}; sockets of files are not supported",
                fix="Give the full name of the server, e.g. with its domain, or its IP address",
            )
        before, marker, after = parts.path.rpartition("/v2/models/")
        words = [unquote(word) for word in (after if marker else parts.path[1:]).split("/")]
        if len(words) == 3 and words[1] == "versions":
            del words[1]
        if len(words) > 2 or not all(words) or (len(words) == 2 and "/versions/" not in parts.path):
            raise _wrong(_safe(parts))
        if before and parts.scheme.startswith("grpc"):
            raise _wrong(f"{_safe(parts)}: gRPC has no path before the model")
        version = words[1] if len(words) == 2 else ""
        return cls(parts.scheme, parts.hostname, port, before, words[0], version)

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme.endswith("s")

    @property
    def target(self) -> str:
        """Host and port, as gRPC and messages take them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def model_path(self) -> str:
        """The path of the model on an HTTP server, with its version if one is asked for."""
        tail = f"/versions/{quote(self.version, safe='')}" if self.version else ""
        return f"{self.prefix}/v2/models/{quote(self.model, safe='')}{tail}"

    def __str__(self) -> str:
        tail = f"/versions/{self.version}" if self.version else ""
        prefix = f"{self.prefix}/v2/models" if self.prefix else ""
        return f"{self.scheme}://{self.target}{prefix}/{self.model}{tail}"


@dataclass(frozen=True)
class InferenceServer:
    """A model on an inference server that speaks the KServe protocol, version 2.

    Attributes:
        url: `http://host:8000/MODEL` or `grpc://host:8001/MODEL`, for an encrypted connection
            `https` or `grpcs`; `/versions/N` behind the model asks for a version.
        headers: sent with each request, by name.
        connect_s: seconds to wait for a connection, and for a server that is just starting.
        request_s: seconds to wait for one answer.
        retry_s: seconds in which a request is sent again to a server that is away or overloaded;
            0 sends each request once.

    Raises:
        UsageError: the address, a header or a number of seconds is none.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    connect_s: float = 5.0
    request_s: float = 30.0
    retry_s: float = 60.0

    def __post_init__(self) -> None:
        ServerAddress.parse(self.url)
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii():
                # The value may be a secret.
                raise UsageError(
                    f"the header {name!r} cannot be sent",
                    expected="a name, and a value of printable ASCII characters",
                    fix="Correct it",
                )
        for what, seconds in (("connect", self.connect_s), ("request", self.request_s)):
            if not 0 < seconds < 1e6:
                raise UsageError(f"{what}_s is out of range", got=seconds, fix="Give seconds > 0")
        if not 0 <= self.retry_s < 1e6:
            raise UsageError("retry_s is out of range", got=self.retry_s, fix="Give seconds >= 0")

    @property
    def address(self) -> ServerAddress:
        """The parts of `url`."""
        return ServerAddress.parse(self.url)

    def sent_headers(self) -> dict[str, str]:
        """`headers`, and the token of the environment unless they have an authorization.

        Raises:
            InputError: the file with the token cannot be read or is empty.
        """
        headers = dict(self.headers)
        if not any(name.lower() == "authorization" for name in headers) and (token := _token()):
            headers["Authorization"] = f"Bearer {token}"
        return headers


def read_secret(path: str) -> str:
    """The first line of a file that holds a token or the value of a header.

    Raises:
        InputError: it cannot be read, is empty or holds no printable ASCII text.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_LONGEST).partition(b"\n")[0].decode("ascii").strip()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise _unreadable(path, reason) from None
    if not text or not text.isprintable():
        raise _unreadable(path, "no text in its first line")
    return text


def _unreadable(path: str, reason: str) -> InputError:
    return InputError(
        f"no secret can be read from {path}",
        got=reason,
        fix="Name a file that this account may read, with the secret as its first line",
    )


def _token() -> str:
    """The token of the environment; empty if there is none."""
    if name := os.environ.get(TOKEN_FILE):
        return read_secret(name)
    token = os.environ.get(TOKEN, "")
    if not token.isprintable() or not token.isascii():
        raise InputError(
            f"${TOKEN} is no token", fix=f"Set it to one line of text, or use ${TOKEN_FILE}"
        )
    return token


def default_roots() -> bytes | None:
    """The certificates in the file that `$SSL_CERT_FILE` names, for gRPC, which does not read it.

    Raises:
        InputError: the file cannot be read.
    """
    name = os.environ.get("SSL_CERT_FILE")
    if not name:
        return None
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InputError(
            f"$SSL_CERT_FILE names {name}, which cannot be read",
            got=error.strerror,
            fix="Correct it, or unset it for the certificates that gRPC comes with",
        ) from error


def _require_plain(parts: SplitResult, url: str) -> None:
    if parts.scheme not in ("http", "https", "grpc", "grpcs"):
        raise _wrong(_safe(parts))
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "an address of a server holds no user or password",
            expected=_EXPECTED,
            fix=f"Set ${TOKEN} or ${TOKEN_FILE}, or name a header with a file: "
            "--header 'Authorization: @FILE'",
        )
    if parts.query or parts.fragment or "?" in url:
        raise _wrong(f"{_safe(parts)} with a query")


def _safe(parts: SplitResult) -> str:
    """The address without what may be a secret."""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _wrong(got: str) -> UsageError:
    return UsageError(
        "this is no address of a model on an inference server",
        got=got,
        expected=_EXPECTED,
        fix="Write the server, its port and the name of the model",
    )
